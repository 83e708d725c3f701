"""Which partitions stand still although there is work. Pure: times are told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .change_log import Partition
from .lag import PartitionLag


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A partition of ours with messages that nobody has acknowledged for a while."""

    partition: Partition
    behind: int
    for_s: float


class StallWatch:
    """Remembers when each partition last moved on, or had nothing to do."""

    def __init__(self) -> None:
        self._moved: dict[Partition, tuple[int | None, float]] = {}
        self._behind: dict[Partition, int] = {}

    def observe(self, lags: Sequence[PartitionLag], ours: Collection[Partition], *, now_s: float) -> None:
        """Take a reading; partitions that are not ours are somebody else's to watch."""
        for one in lags:
            known = self._moved.get(one.partition)
            if one.partition not in ours:
                self._moved.pop(one.partition, None)
                self._behind.pop(one.partition, None)
                continue
            if known is None or known[0] != one.committed or one.behind == 0:
                self._moved[one.partition] = (one.committed, now_s)
            self._behind[one.partition] = one.behind

    def stalled(self, *, after_s: float, now_s: float) -> list[Stall]:
        """The partitions that have not moved for so long, sorted."""
        return [
            Stall(partition=partition, behind=self._behind[partition], for_s=now_s - since_s)
            for partition, (_, since_s) in sorted(self._moved.items())
            if self._behind[partition] > 0 and now_s - since_s >= after_s
        ]
