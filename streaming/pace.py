"""How fast a group moves, told for a person or a monitor: two readings of its lag, and what waits."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from .change_log import Message, Partition, TopicReader
from .errors import LogUnavailable
from .lag import PartitionLag, lag

if TYPE_CHECKING:
    from .metrics import Spread

# A broker that is asked for the next message of a partition has it at hand.
LOOK_S = 2.0
METRICS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPace:
    """Two readings of a group's lag.

    Attributes:
        before, after: the readings.
        over_s: the time between them.
        waiting: per partition the next message that is not acknowledged.
    """

    before: Sequence[PartitionLag]
    after: Sequence[PartitionLag]
    over_s: float
    waiting: dict[Partition, Message]

    @property
    def behind(self) -> int:
        """How many messages are not acknowledged."""
        return sum(one.behind for one in self.after)

    @property
    def written_per_s(self) -> float:
        """How many messages came per second."""
        return (sum(one.end for one in self.after) - sum(one.end for one in self.before)) / self.over_s

    @property
    def done_per_s(self) -> float:
        """How many messages were acknowledged per second."""
        done = [max(0, (one.committed or 0) - (was.committed or 0)) for was, one in self._pairs()]
        return sum(done) / self.over_s

    def lines(self, group: str, *, now_s: float | None = None) -> list[str]:
        """What a person wants to know, a line per partition."""
        now_s = time.time() if now_s is None else now_s
        told = [f"{group}: {self.behind} messages behind; {self._rates()}"]
        for one in self.after:
            done = "nothing" if one.committed is None else one.committed
            line = (
                f"  {one.partition.topic}/{one.partition.index}: "
                f"acknowledged {done} of {one.end}, {one.behind} behind"
            )
            waits_s = self._waits_s(one.partition, now_s)
            if waits_s is not None:
                line += f", the next waits {_duration(waits_s)}"
            told.append(line)
        return told

    def figures(self, group: str, *, now_s: float | None = None) -> dict[str, Any]:
        """The same for a monitor; `caught_up_in_s` is None while it is not catching up."""
        now_s = time.time() if now_s is None else now_s
        return {
            "group": group,
            "behind": self.behind,
            "written_per_s": self.written_per_s,
            "done_per_s": self.done_per_s,
            "caught_up_in_s": self._caught_up_in_s(),
            "partitions": [
                {
                    "topic": one.partition.topic,
                    "partition": one.partition.index,
                    "acknowledged": one.committed,
                    "end": one.end,
                    "behind": one.behind,
                    "next_waits_s": self._waits_s(one.partition, now_s),
                }
                for one in self.after
            ],
        }

    def _rates(self) -> str:
        rates = f"{self.written_per_s:.1f}/s come, {self.done_per_s:.1f}/s are done"
        if not self.behind:
            return rates
        in_s = self._caught_up_in_s()
        return f"{rates}: {'not catching up' if in_s is None else f'caught up in {_duration(in_s)}'}"

    def _caught_up_in_s(self) -> float | None:
        if not self.behind:
            return 0.0
        gain = self.done_per_s - self.written_per_s
        return self.behind / gain if gain > 0 else None

    def _waits_s(self, partition: Partition, now_s: float) -> float | None:
        message = self.waiting.get(partition)
        return None if message is None else max(0.0, now_s - message.timestamp_ms / 1000)

    def _pairs(self) -> list[tuple[PartitionLag, PartitionLag]]:
        return list(zip(self.before, self.after, strict=True))


def oldest_waiting(reader: TopicReader) -> dict[Partition, Message]:
    """Per partition that is behind, the next message to be acknowledged; those that came in time."""
    found: dict[Partition, Message] = {}
    asked = {one.partition: max(one.first, one.committed or 0) for one in lag(reader) if one.behind}
    for partition in reader.partitions():
        reader.seek(partition, asked.get(partition, reader.bounds(partition)[1]))
    give_up_s = time.monotonic() + LOOK_S
    while asked.keys() - found.keys() and time.monotonic() < give_up_s:
        for message in reader.poll(timeout_s=0.2, max_messages=1_000):
            found.setdefault(message.source, message)
    return {partition: found[partition] for partition in asked if partition in found}


def ask_freshness(port: int) -> "list[Spread]":
    """What a consumer on this machine says of its freshness since it started, per outcome.

    Raises:
        LogUnavailable: nobody answers there.
    """
    from .metrics import freshness_spread  # the client loads when asked for

    address = f"http://127.0.0.1:{port}/metrics"
    try:
        with urlopen(address, timeout=METRICS_TIMEOUT_S) as answer:
            return freshness_spread(answer.read().decode())
    except (OSError, ValueError) as error:
        raise LogUnavailable(
            f"{address} does not answer ({error}); start the consumer with --metrics-port {port}"
        ) from error


def freshness_figures(spreads: "Sequence[Spread]") -> list[dict[str, Any]]:
    """For a monitor; a bound that is not known is None."""
    return [
        {name: None if value == float("inf") else value for name, value in asdict(one).items()}
        for one in spreads
    ]


def freshness_lines(spreads: "Sequence[Spread]") -> list[str]:
    """For a person, a line per outcome."""
    if not spreads:
        return ["freshness: nothing worked off yet"]
    return [
        "freshness, since that consumer started:",
        *(
            f"  {one.outcome}: {one.count} changes, half within {_duration(one.half_within_s)}, "
            f"99% within {_duration(one.most_within_s)}"
            for one in spreads
        ),
    ]


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> [_duration(one) for one in (0.25, 42.0, 150.0, 9_000.0, float("inf"))]
    ['0.25 s', '42 s', '2.5 min', '2.5 h', 'more than 24 h']
    """
    if seconds == float("inf"):
        return "more than 24 h"
    for most, unit, size in ((120, "s", 1), (7_200, "min", 60)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"
