"""With and without, in short blocks by turns: the ratio, how sure it is, and the machine against itself.

A machine that others share is a few percent slower from one second to the next,
and at the 99th percentile by half: two long runs compare two moments of the
machine. So a round is four short blocks, two of each kind, the kinds in an
order that favours neither; each round gives one ratio, and a slow moment spoils
one of them. What counts is the median of the rounds, with an interval from
resampling them. The two blocks without are held against each other, too: that
is how far apart two equal things come out here, in the same minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median

RESAMPLES = 1_000


@dataclass(slots=True)
class Block:
    """Searches of a second or so.

    Attributes:
        waits_ms: from when each should have begun to its end.
        cpu_ms: that this process burned for one, on average.
    """

    waits_ms: list[float] = field(default_factory=list)
    cpu_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Two blocks of each kind, from the same few seconds."""

    without: tuple[Block, Block]
    given: tuple[Block, Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The thing over its absence.

    Attributes:
        value: the median of the rounds.
        low, high: 95% of the medians of as many rounds, drawn again.
        alone: half of what lies between low and high where nothing was changed.
    """

    value: float
    low: float
    high: float
    alone: float

    def leaves_open(self, bar: float) -> bool:
        """Whether more rounds could still put it on the other side of the bar."""
        return self.low <= bar < self.high


def in_turn(turn: int) -> tuple[bool, bool, bool, bool]:
    """Which of a round's four blocks are with it: the middle two, then the outer two, and so on."""
    return (False, True, True, False) if turn % 2 == 0 else (True, False, False, True)


def quantile(blocks: Sequence[Block], share: float) -> float:
    """Of all their waits."""
    waits = sorted(wait for block in blocks for wait in block.waits_ms)
    return waits[min(len(waits) - 1, int(len(waits) * share))]


def ratio(rounds: Sequence[Round], share: float) -> Ratio:
    """Of the quantiles, round by round.

    >>> def block(wait: float) -> Block:
    ...     return Block([wait] * 10)
    >>> rounds = [Round(without=(block(10), block(10)), given=(block(11), block(11)))] * 3
    >>> ratio(rounds, 0.5)
    Ratio(value=1.1, low=1.1, high=1.1, alone=0.0)
    """
    found = [quantile(one.given, share) / quantile(one.without, share) for one in rounds]
    same = [quantile(one.without[:1], share) / quantile(one.without[1:], share) for one in rounds]
    low, high = _interval(found)
    low_alone, high_alone = _interval(same)
    return Ratio(value=median(found), low=low, high=high, alone=(high_alone - low_alone) / 2)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    luck = Random(7)
    medians = sorted(median(luck.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]
