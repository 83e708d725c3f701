"""The event log that ends in Kafka, keyed by unit.

This file and `streaming/kafka.py` are the only ones that know the Kafka client.
"""

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from .event_ring import CAPACITY, Delivery, EventRing, Kind, Line

# How long a batch may take; what is not acknowledged by then is sent again.
DELIVER_S = 30.0


class KafkaEventLog(EventRing):
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
        topics: dict[Kind, str] = {"exposures": exposures_topic, "outcomes": outcomes_topic}
        if marks_topic:
            topics["marks"] = marks_topic
        sink = KafkaSink({"bootstrap_servers": bootstrap.split(","), **(connection or {})}, topics)
        super().__init__(sink, name="kafka-event-log", capacity=capacity)


class KafkaSink:
    """Sends lines, each kind to its topic, and waits until the broker has them."""

    def __init__(self, connection: Mapping[str, Any], topics: Mapping[Kind, str]) -> None:
        self._connection = connection
        self._topics = topics
        self._producer: Any = None

    def write(self, lines: Sequence[Line]) -> Delivery:
        """Send a batch; what the broker refuses for good is lost, what it did not answer is sent again."""
        producer = self._producer = self._producer or self._open()
        sent: list[tuple[Line, Any]] = []
        again: list[Line] = []
        lost = 0
        wanted = [line for line in lines if line.kind in self._topics]
        for place, line in enumerate(wanted):
            try:
                sent.append((line, self._send(producer, line)))
            except Exception as error:
                if _is_final(error):
                    lost += 1
                else:
                    again = wanted[place:]  # nobody answers: each of the rest would wait as long
                    break
        with suppress(Exception):  # each future says for itself what became of it
            producer.flush(timeout=DELIVER_S)
        for line, future in sent:
            if not future.is_done:
                again.append(line)
            elif future.exception is not None and _is_final(future.exception):
                lost += 1
            elif future.exception is not None:
                again.append(line)
        return Delivery(again=again, lost=lost)

    def close(self, *, timeout_s: float) -> None:
        """Let go of the connections."""
        if self._producer is not None:
            with suppress(Exception):
                self._producer.close(timeout=timeout_s)

    def _send(self, producer: Any, line: Line) -> Any:
        key = line.unit_id.encode("utf-8", "replace")
        return producer.send(self._topics[line.kind], key=key, value=line.value)

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


def _is_final(error: BaseException) -> bool:
    """Whether no other try helps."""
    from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RetriableError

    return not isinstance(error, RetriableError | KafkaTimeoutError | KafkaConnectionError | OSError)


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
