"""How long a change took from its source until it could be found, per kind of change.

A blended figure would hide the slow kinds, so every kind has its own.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from product_index.product import ProductChange

from .change_log import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message that has been worked off.

    Attributes:
        outcome: `new`, `text`, `picture`, `scalar`, `unchanged`, `delete`, `stale`,
            `superseded`, `failed`, `poison` where it could not be read, or `skipped`
            where it asked for nothing.
        occurred_at_ms: when the source changed; when it was written, where that cannot be read.
        searchable_at_ms: when the store had answered for it.
    """

    product_id: str
    outcome: str
    occurred_at_ms: int
    searchable_at_ms: int
    partition: int
    offset: int

    @classmethod
    def of(
        cls, message: Message, change: ProductChange | None, *, outcome: str, searchable_at: datetime
    ) -> Self:
        """Note the arrival of a message."""
        key = (message.key or b"").decode("utf-8", "replace")
        return cls(
            product_id=key if change is None else change.product_id,
            outcome=outcome,
            occurred_at_ms=message.timestamp_ms if change is None else change.occurred_at_ms,
            searchable_at_ms=int(searchable_at.timestamp() * 1000),
            partition=message.partition,
            offset=message.offset,
        )

    @property
    def freshness_ms(self) -> int:
        """From the source's change until it could be found."""
        return self.searchable_at_ms - self.occurred_at_ms


class FreshnessFile:
    """Appends arrivals as JSON lines, for whoever computes percentiles."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, arrivals: Sequence[Arrival]) -> None:
        """Append them, whole lines in one write."""
        lines = [json.dumps({**asdict(one), "freshness_ms": one.freshness_ms}) for one in arrivals]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))


def read_freshness(path: Path) -> dict[str, list[int]]:
    """Return the milliseconds of every arrival in such a file, per outcome."""
    told: dict[str, list[int]] = defaultdict(list)
    if not path.exists():
        return told
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # the last one may be half written
                arrival = json.loads(line)
                told[arrival["outcome"]].append(arrival["freshness_ms"])
    return told


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed.

    >>> percentile([10, 20, 30, 40], 0.5), percentile([10, 20, 30, 40], 0.99)
    (20, 40)
    """
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 10_000) // 10_000))  # rounded up, in whole numbers
    return ordered[rank - 1]
