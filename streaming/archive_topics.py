"""Archived events from topics: a part is a partition, a position is an offset."""

from collections.abc import Mapping

import structlog

from .archive_source import Kind, Part, Record
from .change_log import Partition, TopicReader
from .errors import ArchiveError

log = structlog.get_logger()

# As much of a topic's id as tells topics apart in a file's name.
_IDENTITY_CHARACTERS = 12


class TopicEvents:
    """Reads some topics.

    Args:
        kinds: which topic holds what.
    """

    def __init__(self, reader: TopicReader, kinds: Mapping[str, Kind]) -> None:
        self._reader = reader
        self._kinds = kinds
        self._parts: dict[Partition, Part] = {}
        self._partitions: dict[Part, Partition] = {}

    def new_parts(self) -> list[Part]:
        """All partitions, once."""
        if self._parts:
            return []
        partitions = self._reader.partitions()
        names = {topic: self._reader.identity(topic) for topic in {one.topic for one in partitions}}
        for one in partitions:
            part = Part(
                kind=self._kinds[one.topic],
                # A topic made anew has another id: its offsets begin at nought again.
                stem=f"{names[one.topic][:_IDENTITY_CHARACTERS]}-{one.index:03d}",
                told={"topic": one.topic, "partition": one.index},
            )
            self._parts[one], self._partitions[part] = part, one
        return list(self._partitions)

    def resume(self, part: Part, position: int | None) -> tuple[int, int]:
        """Go there; what the topic has dropped before it was archived is told and passed over.

        Raises:
            ArchiveError: the topic ends before.
        """
        partition = self._partitions[part]
        first, end = self._reader.bounds(partition)
        start = first if position is None else position
        if start > end:
            raise ArchiveError(
                f"{partition.topic}/{partition.index} ends at {end}, but {start} comes next by the archive's "
                "mark; was the topic cut? Move the archive away to archive anew"
            )
        if start < first:
            log.warning(
                "archive_gap",
                **part.told,
                lost=first - start,
                reason="dropped by the topic before they were archived; archive more often",
            )
            start = first
        self._reader.seek(partition, start)
        return start, end

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """What came."""
        return [
            Record(self._parts[one.source], one.offset, one.offset + 1, one.value)
            for one in self._reader.poll(timeout_s=timeout_s, max_messages=max_records)
        ]

    def acknowledge(self, positions: Mapping[Part, int]) -> None:
        """Commit the offsets, for `status` alone: the marks are what a restart believes."""
        self._reader.commit({self._partitions[part]: position for part, position in positions.items()})
