"""As many questions at a time as a channel can take, found by watching how long it takes.

A fixed limit is wrong twice: too high, and under load everybody waits for
everybody; too low, and a healthy channel turns people away. Here the limit
follows the channel: while answers take about as long as they usually do it
grows, when they take longer (they queue for something inside) it shrinks. What
is above it is `shed` at once, which costs nobody anything.

What is usual must be learnt from times without a queue, or a long overload
would become the usual. So while nobody is shed it is the mean, which may rise
only slowly; while people are, the limit now and then goes down to its lowest
for a few answers, and those tell. The idea is that of Netflix'
concurrency-limits; no kept Python port of it was found.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import sqrt
from threading import Lock

from recall_plugin.query import ChannelAnswer, ChannelRequest, Query

from . import Channel

# How far one answer moves the limit.
_SMOOTHING = 0.2
# One answer halves what the limit aims at, at most, however slow it was.
_STEEPEST = 0.5
# Answers are fast or slow by whether their query was known: single ones say little.
_RECENT_OVER = 10
# After so many answers, what is usual is reckoned anew; without a queue it may rise by this much.
_EPOCH = 300
_RISE = 1.1
# A look at how long it takes without a queue: 3% of the answers of a time in which people are shed.
_PROBE = 10
# No answer is of use to anybody after this long; whoever hangs longer is not waited for.
_LOST_S = 60.0


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
    """A limit on questions in flight; safe to share between threads. Time is an argument."""

    def __init__(self, rule: LimitRule | None = None) -> None:
        self._rule = rule or LimitRule()
        self._lock = Lock()
        self._limit = float(min(self._rule.first, self._rule.highest))
        self._inside: dict[int, float] = {}
        self._tickets = count(1)
        self._usual_s: float | None = None
        self._recent_s = 0.0
        self._epoch = _Mean()
        self._was_shed = False
        self._probe: _Mean | None = None
        self._probe_from = 0

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return int(self._limit) if self._probe is None else self._rule.lowest

    @property
    def in_flight(self) -> int:
        """How many are."""
        return len(self._inside)

    def enter(self, now_s: float) -> int | None:
        """A ticket for one more, or None."""
        with self._lock:
            if self._is_full():
                self._forget_lost(now_s)
                if self._is_full():
                    self._was_shed = True
                    return None
            ticket = next(self._tickets)
            self._inside[ticket] = now_s
            return ticket

    def leave(self, ticket: int, now_s: float, *, went_well: bool) -> None:
        """It came back."""
        with self._lock:
            busy = len(self._inside)
            entered_s = self._inside.pop(ticket, None)
            if entered_s is None:
                return  # given up for lost
            if self._probe is not None:
                if ticket >= self._probe_from:  # the others stood in the queue
                    self._look(now_s - entered_s, self._probe)
                return
            self._learn(now_s - entered_s)
            slope = self._slope() if went_well else _STEEPEST
            if slope == 1 and busy < self._limit / 2:
                return  # a limit that nobody comes near proves nothing by growing
            aim = self._limit * slope + (sqrt(self._limit) if slope == 1 else 0)
            moved = (1 - _SMOOTHING) * self._limit + _SMOOTHING * aim
            self._limit = min(max(moved, self._rule.lowest), self._rule.highest)

    def _is_full(self) -> bool:
        if self._probe is None:
            return len(self._inside) >= int(self._limit)
        return sum(ticket >= self._probe_from for ticket in self._inside) >= self._rule.lowest

    def _forget_lost(self, now_s: float) -> None:
        """One that hangs for ever must not keep its place for ever."""
        self._inside = {
            ticket: entered_s for ticket, entered_s in self._inside.items() if now_s - entered_s < _LOST_S
        }

    def _slope(self) -> float:
        """1 while it takes as long as usual, less the longer it takes."""
        usual = self._recent_s if self._usual_s is None else self._usual_s
        return max(_STEEPEST, min(1.0, self._rule.tolerance * usual / max(self._recent_s, 1e-9)))

    def _learn(self, took_s: float) -> None:
        self._recent_s += (took_s - self._recent_s) / _RECENT_OVER if self._recent_s else took_s
        self._epoch.add(took_s)
        if self._usual_s is None and self._epoch.count == _RECENT_OVER:
            self._usual_s = self._epoch.mean
        if self._epoch.count < _EPOCH or self._usual_s is None:
            return
        if self._was_shed:
            self._probe, self._probe_from = _Mean(), next(self._tickets)
        else:
            self._usual_s = min(self._epoch.mean, self._usual_s * _RISE)
        self._epoch, self._was_shed = _Mean(), False

    def _look(self, took_s: float, probe: "_Mean") -> None:
        probe.add(took_s)
        if probe.count == _PROBE:
            self._usual_s, self._recent_s, self._probe = probe.mean, probe.mean, None
            self._was_shed = False


class _Mean:
    """Of what was added."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.mean += (value - self.mean) / self.count


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
        ticket = self.limit.enter(self._clock())
        if ticket is None:
            return ChannelAnswer(
                status="shed",
                reason=f"{self.limit.in_flight} questions are in flight, more make it slower for all",
            )
        went_well = False
        try:
            answer = self.channel.find(request)
            went_well = answer.status not in ("error", "timeout")
        finally:
            self.limit.leave(ticket, self._clock(), went_well=went_well)
        return answer

    def prepare(self, query: Query, *, wait_s: float) -> None:
        """Passed on, if the channel can."""
        prepare = getattr(self.channel, "prepare", None)
        if prepare is not None:
            prepare(query, wait_s=wait_s)

    def close(self) -> None:
        """Let go of the channel."""
        self.channel.close()
