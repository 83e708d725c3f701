"""Where archived events come from: the role, and the little that the archive knows of it.

The sources are `archive_topics` (Kafka) and `archive_lines` (JSON Lines).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Kind = Literal["exposures", "outcomes"]


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Part:
    """Events of one kind in an order that never changes: a partition, or a file.

    Attributes:
        kind: what it holds.
        stem: its name in the archive, for life; no other part ever gets it.
        told: what a person knows it by.
    """

    kind: Kind
    stem: str
    told: Mapping[str, str | int] = field(compare=False)


class Record(NamedTuple):
    """An event as it lies in its part, not read yet; `end` is where the next one begins."""

    part: Part
    begin: int
    end: int
    value: bytes | None


class EventSource(Protocol):
    """Reads parts on from where the archive's marks say."""

    def new_parts(self) -> list[Part]:
        """Those that were not told before."""
        ...

    def resume(self, part: Part, position: int | None) -> tuple[int, int]:
        """Read a part on from there, or from its first event: where that is, and where the part ends now.

        Raises:
            ArchiveError: the part is not what was archived.
        """
        ...

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """What came, in order per part; empty after the time.

        Raises:
            ArchiveError: a part is not what was archived.
        """
        ...

    def acknowledge(self, positions: Mapping[Part, int]) -> None:
        """Everything before these is in the archive; only for others to see."""
        ...
