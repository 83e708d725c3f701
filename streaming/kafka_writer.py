"""Messages written to Kafka, each answered for."""

from collections.abc import Sequence

from .change_log import Outgoing
from .dead_letters import MOST_BYTES
from .kafka_client import Connection, producer, translated


class KafkaMessageSink:
    """Writes messages and waits for the answer of every in-sync replica."""

    def __init__(self, connection: Connection, *, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s
        with translated("connecting", connection):
            self._client = producer(
                connection, max_request_size=MOST_BYTES, delivery_timeout_ms=int(timeout_s * 1000)
            )

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Return once the log has answered for all of them; `flush` alone would not tell."""
        with translated("writing"):
            futures = [
                self._client.send(one.topic, key=one.key, value=one.value, headers=list(one.headers))
                for one in messages
            ]
            for future in futures:
                future.get(timeout=self._timeout_s)

    def close(self) -> None:
        """Let go of connections."""
        with translated("closing"):
            self._client.close(timeout=self._timeout_s)
