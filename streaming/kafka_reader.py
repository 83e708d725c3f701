"""Whole topics of Kafka, read from any offset."""

from collections.abc import Sequence
from datetime import datetime

from .change_log import Message, Offsets, Partition
from .kafka_client import (
    COMMIT_TIMEOUT_MS,
    METADATA_TIMEOUT_MS,
    Connection,
    acknowledged,
    administering,
    consumer,
    key_of,
    messages_of,
    translated,
)


class KafkaTopicReader:
    """All partitions of some topics, from any offset. Assigned, not joined: no rebalance, no ghost."""

    def __init__(self, connection: Connection, topics: Sequence[str], *, group: str) -> None:
        self._connection = connection
        with translated("connecting", connection):
            self._client = consumer(connection, group, max_poll_records=5_000)
            found = [(topic, self._client.partitions_for_topic(topic) or set()) for topic in topics]
        self._partitions = [
            key_of(Partition(topic, index)) for topic, indexes in found for index in sorted(indexes)
        ]
        self._client.assign(self._partitions)

    def partitions(self) -> list[Partition]:
        """Every partition of the topics, sorted."""
        return sorted(Partition(key.topic, key.partition) for key in self._partitions)

    def identity(self, topic: str) -> str:
        """The id that the broker gave the topic: a topic made anew has another."""
        with administering(self._connection) as admin:
            described = admin.describe_topics([topic])[0]
        return str(described["topic_id"]).replace("-", "")

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first offset that is kept and the next to be written."""
        key = key_of(partition)
        with translated("asking for offsets"):
            first = self._client.beginning_offsets([key], timeout_ms=METADATA_TIMEOUT_MS)[key]
            end = self._client.end_offsets([key], timeout_ms=METADATA_TIMEOUT_MS)[key]
        return first, end

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """The first offset that is kept of what was written then or later; the next to be written if none."""
        key = key_of(partition)
        asked = {key: max(0, int(moment.timestamp() * 1000))}
        with translated("asking for offsets"):
            found = self._client.offsets_for_times(asked, timeout_ms=METADATA_TIMEOUT_MS)[key]
        return self.bounds(partition)[1] if found is None or found.offset < 0 else int(found.offset)

    def committed(self, partition: Partition) -> int | None:
        """The offset acknowledged last."""
        with translated("asking for offsets"):
            offset: int | None = self._client.committed(key_of(partition), timeout_ms=METADATA_TIMEOUT_MS)
        return None if offset is None or offset < 0 else offset

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""
        self._client.seek(key_of(partition), offset)

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time."""
        with translated("polling"):
            records = self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages)
        return [message for held in records.values() for message in messages_of(held)]

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge everything before these offsets."""
        with translated("committing"):
            self._client.commit(acknowledged(offsets), timeout_ms=COMMIT_TIMEOUT_MS)

    def close(self) -> None:
        """Let go of connections."""
        with translated("closing"):
            self._client.close(autocommit=False, timeout_ms=COMMIT_TIMEOUT_MS)
