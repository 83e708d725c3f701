"""The event log that ends in Kafka, for a request path that must never wait.

A call puts the event into a bounded ring and returns. One thread takes it from
there: it encodes, sends and counts what is lost. Nothing is raised to the caller.
This file and `streaming/kafka.py` are the only ones that know the Kafka client.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from .exposure import Exposure, Mark, Outcome, to_json

log = structlog.get_logger()

# At 200 searches a second, fifty seconds without a broker.
CAPACITY = 10_000
RETRY_S = 1.0


class KafkaEventLog:
    """Delivers events in the background, keyed by unit.

    Args:
        bootstrap: the broker's address, `host:port[,host:port]`.
        marks_topic: where marks go; they are not sent without.
        capacity: how many events may wait; past it the oldest is dropped and counted.
        connection: more settings of the client (security); never logged.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        exposures_topic: str = "search-exposures",
        outcomes_topic: str = "search-outcomes",
        marks_topic: str = "",
        capacity: int = CAPACITY,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        self._connection = {"bootstrap_servers": bootstrap.split(","), **(connection or {})}
        self._topics: dict[type, str] = {Exposure: exposures_topic, Outcome: outcomes_topic}
        if marks_topic:
            self._topics[Mark] = marks_topic
        self._ring: deque[Exposure | Outcome | Mark] = deque()
        self._capacity = capacity
        self._change = threading.Condition()
        self._dropped = 0
        self._flying = 0
        self._give_up_at: float | None = None
        self._told_at = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="kafka-event-log", daemon=True)
        self._thread.start()

    def exposed(self, exposure: Exposure) -> None:
        """Take an exposure."""
        self._take(exposure)

    def happened(self, outcome: Outcome) -> None:
        """Take an outcome."""
        self._take(outcome)

    def marked(self, mark: Mark) -> None:
        """Take a mark, if there is a topic for marks."""
        if Mark in self._topics:
            self._take(mark)

    @property
    def dropped(self) -> int:
        """How many events were lost so far."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """How many events are neither delivered nor lost yet."""
        return len(self._ring) + self._flying

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Deliver what is waiting, within the time; count the rest as lost. Twice is the same as once."""
        with self._change:
            if self._give_up_at is None:
                self._give_up_at = time.monotonic() + timeout_s
            self._change.notify_all()
        # The client has timeouts of its own; the thread is a daemon and may be left to them.
        self._thread.join(timeout_s + RETRY_S)
        with self._change:
            if not self._closed:
                self._closed = True
                self._dropped += len(self._ring) + self._flying
            self._ring.clear()
        if self._dropped:
            log.warning("events_dropped", dropped=self._dropped)

    def _take(self, event: Exposure | Outcome | Mark) -> None:
        with self._change:
            if self._give_up_at is not None:
                self._dropped += 1
                return
            if len(self._ring) >= self._capacity:
                self._ring.popleft()
                self._dropped += 1
            self._ring.append(event)
            self._change.notify()

    def _deliver(self) -> None:
        producer: Any = None
        while (event := self._next()) is not None:
            try:
                topic, value = self._topics[type(event)], to_json(event)
            except Exception as error:
                self._done(error)  # this one can never be sent
                continue
            try:
                producer = producer or self._open()
                future = producer.send(topic, key=event.unit_id.encode("utf-8", "replace"), value=value)
            except Exception as error:
                self._put_back(event, error)
                continue
            future.add_callback(lambda _told: self._done(None))
            future.add_errback(self._done)
        if producer is not None:
            _close(producer, timeout_s=self._left_s())

    def _next(self) -> Exposure | Outcome | Mark | None:
        """The oldest event, waiting for one; None when closed and empty, or out of time."""
        with self._change:
            while not self._ring or self._flying >= self._capacity:
                if self._give_up_at is not None and (not self._ring or self._left_s() <= 0):
                    return None
                self._change.wait(RETRY_S)
            if self._give_up_at is not None and self._left_s() <= 0:
                return None
            self._flying += 1
            return self._ring.popleft()

    def _put_back(self, event: Exposure | Outcome | Mark, error: BaseException) -> None:
        """Keep the event for the next try, unless newer ones have filled the ring."""
        with self._change:
            self._flying -= 1
            if len(self._ring) >= self._capacity:
                self._dropped += 1
            else:
                self._ring.appendleft(event)
            self._tell("events_waiting", error)
            self._change.wait(RETRY_S if self._give_up_at is None else min(RETRY_S, max(0.0, self._left_s())))

    def _done(self, error: BaseException | None) -> None:
        """An event has been delivered or, with an error, lost. Runs on the client's thread, too."""
        with self._change:
            self._flying -= 1
            if error is not None and not self._closed:  # else it has been counted
                self._dropped += 1
                self._tell("event_lost", error)
            self._change.notify_all()

    def _tell(self, event: str, error: BaseException) -> None:
        """Log at most once a second: a broker that is away must not fill the disk."""
        now = time.monotonic()
        if now - self._told_at >= RETRY_S:
            self._told_at = now
            log.warning(
                event,
                reason=f"{type(error).__name__}: {error}"[:300],
                waiting=len(self._ring),
                dropped=self._dropped,
            )

    def _left_s(self) -> float:
        return 0.0 if self._give_up_at is None else self._give_up_at - time.monotonic()

    def _open(self) -> Any:
        from kafka import KafkaProducer  # loads when there is something to send

        _knock(self._connection["bootstrap_servers"])
        return KafkaProducer(
            client_id="uniecs-event-log",
            bootstrap_timeout_ms=5_000,
            max_block_ms=5_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            linger_ms=20,
            batch_size=128 * 1024,
            allow_auto_create_topics=False,
            **self._connection,
        )


def _knock(addresses: Sequence[str]) -> None:
    """Raise OSError where nobody is at home: the client would leave its sockets open."""
    for number, address in enumerate(addresses, start=1):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except OSError:
            if number == len(addresses):
                raise
        else:
            return


def _close(producer: Any, *, timeout_s: float) -> None:
    with suppress(Exception):  # what was not delivered is still flying, and is counted by `close`
        producer.flush(timeout=max(0.1, timeout_s))
    with suppress(Exception):
        producer.close(timeout=1.0)
