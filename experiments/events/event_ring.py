"""Between a request path that must never wait and a log that may be slow, full or away.

A call puts the event into a bounded ring and returns. One thread encodes what
is there, twenty times a second, and hands it to a sink; what the sink does not
take is tried again. Past its bounds the oldest is dropped and counted. Nothing
is raised to the caller. At least once: an event's id says which are the same.
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Event, Lock, Thread
from typing import Literal, NamedTuple, Protocol

import structlog

from experiments.exposure import Exposure, Mark, Outcome

from .event_json import to_json

log = structlog.get_logger()

# At 200 searches a second, fifty seconds without a log.
CAPACITY = 10_000
# What is encoded and waits may take so much memory: a page of 20 has about 2 kB.
MAX_BYTES = 64 * 1024 * 1024
# Encoding holds the interpreter: done at a stretch, it made one request of a hundred wait a millisecond.
# A breath after each event lets a request through, unless so many wait that there is no time for it.
BREATH_S = 50e-6
UNHURRIED = 500
LINGER_S = 0.05
RETRY_S = 1.0
BATCH = 500

Kind = Literal["exposures", "outcomes", "marks"]
AnyEvent = Exposure | Outcome | Mark
_KINDS: dict[type, Kind] = {Exposure: "exposures", Outcome: "outcomes", Mark: "marks"}


class Line(NamedTuple):
    """An encoded event."""

    kind: Kind
    unit_id: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of some lines.

    Attributes:
        again: not delivered, but another try may.
        lost: how many can never be delivered.
    """

    again: Sequence[Line] = ()
    lost: int = 0


class Sink(Protocol):
    """Where lines go. Called by one thread only; it may raise: then all of them are tried again."""

    def write(self, lines: Sequence[Line]) -> Delivery:
        """Deliver these, in order."""
        ...

    def close(self, *, timeout_s: float) -> None:
        """Let go."""
        ...


class EventRing:
    """An event log in front of a sink.

    Args:
        sink: where events end.
        name: of the thread.
        capacity: how many events may wait to be encoded, and as many encoded.
        max_bytes: how much memory the encoded ones may take.
    """

    def __init__(
        self, sink: Sink, *, name: str, capacity: int = CAPACITY, max_bytes: int = MAX_BYTES
    ) -> None:
        self._sink = sink
        self._name = name
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._give_up_at: float | None = None
        self._closed = False
        self._start_afresh()

    def exposed(self, exposure: Exposure) -> None:
        """Take an exposure."""
        self._take(exposure)

    def happened(self, outcome: Outcome) -> None:
        """Take an outcome."""
        self._take(outcome)

    def marked(self, mark: Mark) -> None:
        """Take a mark."""
        self._take(mark)

    @property
    def dropped(self) -> int:
        """How many events were lost so far."""
        return self._refused + self._lost + self._left

    @property
    def waiting(self) -> int:
        """How many events are neither delivered nor lost yet."""
        return 0 if self._closed else len(self._raw) + len(self._encoded)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Deliver what is waiting, within the time; count the rest as lost. Twice is the same as once."""
        if self._pid != os.getpid():
            self._start_afresh()
        with self._lock:
            if self._give_up_at is None:
                self._give_up_at = time.monotonic() + timeout_s
        self._wake.set()
        # A sink has timeouts of its own; the thread is a daemon and may be left to them.
        self._thread.join(timeout_s + RETRY_S)
        with self._lock:
            if not self._closed:  # else it has been counted
                self._left = len(self._raw) + len(self._encoded)
                self._closed = True
            self._raw.clear()
        if self.dropped:
            log.warning("events_dropped", dropped=self.dropped, log=self._name)

    def _start_afresh(self) -> None:
        """Also after a fork: threads do not survive it, and what waited is the parent's to deliver."""
        self._pid = os.getpid()
        self._lock = Lock()
        self._raw: deque[AnyEvent] = deque()
        self._encoded: deque[Line] = deque()
        self._bytes = 0
        # Each is written by one side only: by callers under the lock, by the thread, by `close`.
        self._refused = self._lost = self._left = 0
        self._closed = False
        self._give_up_at = None
        self._told_at = 0.0
        self._wake: Event = Event()
        self._thread: Thread = Thread(target=self._deliver, name=self._name, daemon=True)
        self._thread.start()

    def _take(self, event: AnyEvent) -> None:
        """No thread is woken: that would cost the shopper more than the ring does."""
        if self._pid != os.getpid():
            self._start_afresh()
        with self._lock:
            if self._give_up_at is not None:
                self._refused += 1
                return
            if len(self._raw) >= self._capacity:
                self._raw.popleft()
                self._refused += 1
            self._raw.append(event)

    def _deliver(self) -> None:
        try_again_at = 0.0
        while not self._closed:
            closing = self._give_up_at is not None
            self._encode()
            if closing and (not self.waiting or self._left_s() <= 0):
                break
            if not self._encoded or (time.monotonic() < try_again_at and not closing):
                self._wake.wait(LINGER_S)
                continue
            if not self._write() and not closing:
                try_again_at = time.monotonic() + RETRY_S
            elif closing and self._encoded:
                time.sleep(min(LINGER_S, max(0.0, self._left_s())))
        self._sink.close(timeout_s=max(0.1, self._left_s()))

    def _encode(self) -> None:
        """Write out what was taken; drop the oldest past the bounds."""
        while self._raw:
            try:
                event = self._raw.popleft()
            except IndexError:  # the last one was dropped just now
                break
            try:
                line = Line(_KINDS[type(event)], event.unit_id, to_json(event))
            except Exception as error:
                self._count_as_lost(1, error)  # this one can never be sent
                continue
            self._encoded.append(line)
            self._bytes += len(line.value)
            if len(self._raw) < UNHURRIED and self._give_up_at is None:
                time.sleep(BREATH_S)
            while len(self._encoded) > self._capacity or self._bytes > self._max_bytes:
                self._bytes -= len(self._encoded.popleft().value)
                self._count_as_lost(1)

    def _write(self) -> bool:
        """Hand the oldest to the sink; False if it is better to wait before the next try."""
        batch = list(islice(self._encoded, BATCH))
        try:
            delivery = self._sink.write(batch)
        except Exception as error:
            self._tell("events_waiting", error)
            return False
        if self._closed:  # it came too late: what it held has been counted as lost
            return True
        for _ in batch:
            self._bytes -= len(self._encoded.popleft().value)
        self._encoded.extendleft(reversed(delivery.again))
        self._bytes += sum(len(line.value) for line in delivery.again)
        if delivery.lost:
            self._count_as_lost(delivery.lost)
        return not delivery.again

    def _count_as_lost(self, count: int, error: BaseException | None = None) -> None:
        self._lost += count
        if error is not None:
            self._tell("event_lost", error)

    def _tell(self, event: str, error: BaseException) -> None:
        """Log at most once a second: a log that is away must not fill the disk."""
        now = time.monotonic()
        if now - self._told_at >= RETRY_S:
            self._told_at = now
            reason = f"{type(error).__name__}: {error}"[:300]
            log.warning(event, log=self._name, reason=reason, waiting=self.waiting, dropped=self.dropped)

    def _left_s(self) -> float:
        return 0.0 if self._give_up_at is None else self._give_up_at - time.monotonic()
