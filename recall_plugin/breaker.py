"""Leave a failing channel alone for a while, then ask it once.

A pure state machine: the clock and chance are arguments, no thread, no I/O.

    closed     everyone may ask; outcomes are kept for a window
    open       nobody may ask until a time that doubles with each failed probe
    half-open  one probe is out; its outcome decides

A permit is the right to ask once. It is reported (it went well, or not) or
forgotten (cancelled: no evidence either way). A probe that is neither is
replaced after a while, so a lost one can never keep the breaker half-open.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Literal, NamedTuple

from .errors import InvalidSettings

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When to open and for how long.

    Attributes:
        window_s: outcomes older than this say nothing about now.
        min_outcomes: fewer prove nothing.
        failure_rate: open at this share of failures in the window.
        open_s: the first pause; it doubles with each failed probe.
        max_open_s: the longest pause.
        jitter: the pause is longer by up to this share, so that many workers
            do not probe at once.
        probe_lease_s: a probe not heard of for this long is lost.
    """

    window_s: float = 10.0
    min_outcomes: int = 10
    failure_rate: float = 0.5
    open_s: float = 1.0
    max_open_s: float = 30.0
    jitter: float = 0.25
    probe_lease_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.failure_rate <= 1:
            raise InvalidSettings(f"failure_rate is {self.failure_rate}, must be in (0, 1]")
        if self.min_outcomes < 1:
            raise InvalidSettings(f"min_outcomes is {self.min_outcomes}, must be at least 1")
        if not 0 < self.open_s <= self.max_open_s:
            raise InvalidSettings(f"open_s is {self.open_s}, must be in (0, max_open_s={self.max_open_s}]")
        if min(self.window_s, self.probe_lease_s) <= 0 or self.jitter < 0:
            raise InvalidSettings("window_s and probe_lease_s must be above 0, jitter at least 0")


class Permit(NamedTuple):
    """The right to ask once. One of an earlier time counts for nothing."""

    epoch: int
    probe: bool


class Breaker:
    """One channel's breaker; safe to share between threads."""

    def __init__(
        self, rule: BreakerRule | None = None, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._rule = rule or BreakerRule()
        self._chance = chance
        self._lock = Lock()
        self._epoch = 0
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._pause_s = self._rule.open_s
        self._closed = True
        self._open_until_s = 0.0
        self._probe_out_until_s: float | None = None

    def admit(self, *, now_s: float) -> Permit | None:
        """A permit to ask, or None."""
        if self._closed:  # the ordinary case needs no lock: a stale epoch is ignored later
            return Permit(epoch=self._epoch, probe=False)
        with self._lock:
            if self._state() == "closed":
                return Permit(epoch=self._epoch, probe=False)
            if now_s < self._open_until_s:
                return None
            if self._probe_out_until_s is not None and now_s < self._probe_out_until_s:
                return None
            self._epoch += 1
            self._probe_out_until_s = now_s + self._rule.probe_lease_s
            return Permit(epoch=self._epoch, probe=True)

    def report(self, permit: Permit, *, went_well: bool, now_s: float) -> None:
        """What came of it."""
        with self._lock:
            if permit.epoch != self._epoch:
                return
            if not permit.probe:
                self._keep(went_well, now_s)
            elif went_well:
                self._close()
            else:
                self._pause_s = min(self._pause_s * 2, self._rule.max_open_s)
                self._open(now_s)

    def forget(self, permit: Permit) -> None:
        """It was not asked after all, or cancelled: no evidence either way."""
        with self._lock:
            if permit.probe and permit.epoch == self._epoch:
                self._probe_out_until_s = None

    @property
    def state(self) -> State:
        """For people and tests."""
        return self._state()

    def _state(self) -> State:
        if self._closed:
            return "closed"
        return "open" if self._probe_out_until_s is None else "half_open"

    def _keep(self, went_well: bool, now_s: float) -> None:
        self._outcomes.append((now_s, went_well))
        self._failures += not went_well
        while self._outcomes[0][0] <= now_s - self._rule.window_s:
            self._failures -= not self._outcomes.popleft()[1]
        enough = len(self._outcomes) >= self._rule.min_outcomes
        if enough and self._failures >= self._rule.failure_rate * len(self._outcomes):
            self._pause_s = self._rule.open_s
            self._open(now_s)

    def _open(self, now_s: float) -> None:
        self._epoch += 1
        self._closed = False
        self._probe_out_until_s = None
        self._open_until_s = now_s + self._pause_s * (1 + self._rule.jitter * self._chance())

    def _close(self) -> None:
        self._epoch += 1
        self._outcomes.clear()
        self._failures = 0
        self._probe_out_until_s = None
        self._closed = True
