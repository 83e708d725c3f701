"""How far a consumer group is behind. Asks a reader; joins no group."""

from dataclasses import dataclass

from .change_log import Partition, TopicReader


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition.

    Attributes:
        committed: the offset acknowledged last; None if there was none yet.
        first, end: the first offset that is kept, and the next to be written.
    """

    partition: Partition
    committed: int | None
    first: int
    end: int

    @property
    def behind(self) -> int:
        """How many messages are not acknowledged yet, of those still kept."""
        return self.end - max(self.first, self.committed or 0)


def lag(reader: TopicReader) -> list[PartitionLag]:
    """The lag of the reader's group in each partition of its topics."""
    told = []
    for partition in reader.partitions():
        first, end = reader.bounds(partition)
        told.append(
            PartitionLag(partition=partition, committed=reader.committed(partition), first=first, end=end)
        )
    return told
