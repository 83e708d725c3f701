"""As many questions at a time as a channel can take, found by watching how long it takes.

A fixed limit is wrong twice: too high, and under load everybody waits for
everybody; too low, and a healthy channel turns people away. Here the limit
follows the channel: while answers take about as long as they usually do it
grows, when they take longer (they queue for something inside) it shrinks. What
is above it is `shed` at once, which costs nobody anything. The rule is the
gradient of Netflix' concurrency-limits; no kept Python port of it was found.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from threading import Lock

from recall_plugin.query import ChannelAnswer, ChannelRequest, Query

from . import Channel

# The usual time is an average over about this many answers.
_USUAL_OVER = 200
# How far one answer moves the limit.
_SMOOTHING = 0.2
# One answer halves the limit at most, however slow it was.
_STEEPEST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """Bounds of the limit.

    Attributes:
        tolerance: answers may take this many times the usual before the limit shrinks.
    """

    first: int = 8
    lowest: int = 1
    highest: int = 64
    tolerance: float = 1.5


class GradientLimit:
    """A limit on questions in flight; safe to share between threads."""

    def __init__(self, rule: LimitRule | None = None) -> None:
        self._rule = rule or LimitRule()
        self._lock = Lock()
        self._limit = float(min(self._rule.first, self._rule.highest))
        self._usual_s = 0.0
        self._in_flight = 0

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._in_flight

    def enter(self) -> bool:
        """Whether one more may."""
        with self._lock:
            if self._in_flight >= int(self._limit):
                return False
            self._in_flight += 1
            return True

    def leave(self, took_s: float, *, went_well: bool) -> None:
        """It came back."""
        with self._lock:
            busy = self._in_flight
            self._in_flight -= 1
            slope = _STEEPEST if not went_well else self._slope(took_s)
            if slope == 1 and busy < self._limit / 2:
                return  # a limit that nobody comes near proves nothing by growing
            aim = self._limit * slope + (sqrt(self._limit) if slope == 1 else 0)
            moved = (1 - _SMOOTHING) * self._limit + _SMOOTHING * aim
            self._limit = min(max(moved, self._rule.lowest), self._rule.highest)

    def _slope(self, took_s: float) -> float:
        """1 while it takes as long as usual, less the longer it takes."""
        usual = self._usual_s or took_s
        self._usual_s = usual + (took_s - usual) / _USUAL_OVER
        if usual > 2 * took_s:
            self._usual_s *= 0.95  # the slow time is over: do not take it for usual
        return max(_STEEPEST, min(1.0, self._rule.tolerance * usual / max(took_s, 1e-9)))


class LimitedChannel:
    """A channel behind a limit of its own; what is above it is answered `shed`."""

    def __init__(
        self,
        channel: Channel,
        limit: GradientLimit | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self.limit = limit or GradientLimit()
        self._clock = clock

    @property
    def name(self) -> str:
        """The channel's own."""
        return self.channel.name

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """The channel's answer, or `shed` without asking it."""
        if not self.limit.enter():
            return ChannelAnswer(
                status="shed",
                reason=f"{self.limit.in_flight} questions are in flight, more make it slower for all",
            )
        started_s, went_well = self._clock(), False
        try:
            answer = self.channel.find(request)
            went_well = answer.status not in ("error", "timeout")
        finally:
            self.limit.leave(self._clock() - started_s, went_well=went_well)
        return answer

    def prepare(self, query: Query, *, wait_s: float) -> None:
        """Passed on, if the channel can."""
        prepare = getattr(self.channel, "prepare", None)
        if prepare is not None:
            prepare(query, wait_s=wait_s)

    def close(self) -> None:
        """Let go of the channel."""
        self.channel.close()
