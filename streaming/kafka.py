"""Kafka, for the rest of the room: the only file here that knows its client.

Bytes in and bytes out: a deserializer that raises makes kafka-python's fetch
loop spin for ever. Its errors stop here. Commits are explicit, with a timeout,
on the caller's thread; the rebalance listener only notes what was taken away.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from .change_log import Message, Offsets, Outgoing, Partition
from .dead_letters import SUFFIX
from .errors import LogUnavailable, OwnershipLost, Refused

# The settings that every client of ours is opened with: addresses and security.
Connection = Mapping[str, Any]

COMMIT_TIMEOUT_MS = 10_000
METADATA_TIMEOUT_MS = 20_000
# A dead letter is the original and what happened to it: it must fit where the original did.
DEAD_LETTER_MAX_BYTES = 10 * 2**20

_LOST = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, FencedInstanceIdError)
_NO = (
    AuthorizationError,
    GroupAuthorizationFailedError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
)


class KafkaChangeLog:
    """A member of a consumer group.

    `max_poll_interval_ms` bounds how long a member may work on a batch; a batch of
    64 is far below it. Heartbeats come from the client's own thread meanwhile.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        *,
        group: str,
        instance_id: str | None = None,
        session_timeout_s: float = 10.0,
        max_poll_records: int = 128,
    ) -> None:
        self._early: list[Message] = []
        self._paused = False
        # How often a partition was taken away, and the count when it was last polled.
        self._taken: dict[TopicPartition, int] = {}
        self._polled_at: dict[TopicPartition, int] = {}
        with _translated(f"joining group {group!r}", connection):
            self._client = KafkaConsumer(
                **_common(connection),
                group_id=group,
                group_instance_id=instance_id,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy=[CooperativeStickyAssignor],
                max_poll_records=max_poll_records,
                max_poll_interval_ms=300_000,
                session_timeout_ms=int(session_timeout_s * 1000),
                heartbeat_interval_ms=int(session_timeout_s * 1000 / 4),
                max_partition_fetch_bytes=4 * 2**20,
                fetch_max_wait_ms=100,
                allow_auto_create_topics=False,
            )
            self._client.subscribe(list(topics), listener=_Listener(self._taken))

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time."""
        early, self._early = self._early[:max_messages], self._early[max_messages:]
        if early:
            return [one for one in early if self._is_current(one)]
        return self._fetch(timeout_s, max_messages)

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge; only what is still ours since it was polled."""
        ours = self._client.assignment()
        chosen = {}
        for partition, offset in offsets.items():
            key = TopicPartition(partition.topic, partition.index)
            if key in ours and self._polled_at.get(key) == self._taken.get(key, 0):
                chosen[key] = OffsetAndMetadata(offset, "", -1)
        if chosen:
            self._commit(chosen)
        if len(chosen) < len(offsets):
            lost = len(offsets) - len(chosen)
            raise OwnershipLost(f"{lost} of {len(offsets)} partitions were taken over by the group")

    def pause(self) -> None:
        """Take nothing new, stay a member."""
        self._paused = True
        self._client.pause(*self._client.assignment())

    def heartbeat(self) -> None:
        """Poll without taking; what a new partition brings is kept for later."""
        self._early += self._fetch(0.0, None)
        if self._paused:  # partitions assigned meanwhile are not paused
            self._client.pause(*self._client.assignment())

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False
        self._client.resume(*self._client.paused())

    def close(self) -> None:
        """Leave the group at once, so that others need not wait for the session's end."""
        with _translated("leaving the group"):
            self._client.close(autocommit=False, timeout_ms=COMMIT_TIMEOUT_MS)

    def _fetch(self, timeout_s: float, max_messages: int | None) -> list[Message]:
        taken = dict(self._taken)  # before: what is taken away during the poll is then not acknowledged
        with _translated("polling"):
            records = self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages)
        for key in records:
            self._polled_at[key] = taken.get(key, 0)
        return _messages(records)

    def _is_current(self, message: Message) -> bool:
        key = TopicPartition(message.topic, message.partition)
        return self._polled_at.get(key) == self._taken.get(key, 0)

    def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        try:
            self._client.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
        except RebalanceInProgressError:
            # The group is about to meet; joining it is what a poll does. Then once more.
            self.pause()
            try:
                self.heartbeat()
            finally:
                self.resume()
            with _translated("committing"):
                still = {key: told for key, told in offsets.items() if key in self._client.assignment()}
                self._client.commit(still, timeout_ms=COMMIT_TIMEOUT_MS)
        except KafkaError as error:
            raise _ours(error, "committing") from error


class KafkaTopicReader:
    """All partitions of some topics, from any offset. Assigned, not joined: no rebalance, no ghost."""

    def __init__(self, connection: Connection, topics: Sequence[str], *, group: str) -> None:
        self._connection = connection
        self._topics = topics
        with _translated("connecting", connection):
            self._client = KafkaConsumer(
                **_common(connection),
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_poll_records=5_000,
                max_partition_fetch_bytes=8 * 2**20,
                fetch_max_wait_ms=100,
                allow_auto_create_topics=False,
            )
            found = [(topic, self._client.partitions_for_topic(topic) or set()) for topic in topics]
        self._partitions = [
            TopicPartition(topic, index) for topic, indexes in found for index in sorted(indexes)
        ]
        self._client.assign(self._partitions)

    def partitions(self) -> list[Partition]:
        """Every partition of the topics, sorted."""
        return sorted(Partition(key.topic, key.partition) for key in self._partitions)

    def identity(self, topic: str) -> str:
        """The id that the broker gave the topic: a topic made anew has another."""
        with _administering(self._connection) as admin:
            described = admin.describe_topics([topic])[0]
        return str(described["topic_id"]).replace("-", "")

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first offset that is kept and the next to be written."""
        key = TopicPartition(partition.topic, partition.index)
        with _translated("asking for offsets"):
            first = self._client.beginning_offsets([key], timeout_ms=METADATA_TIMEOUT_MS)[key]
            end = self._client.end_offsets([key], timeout_ms=METADATA_TIMEOUT_MS)[key]
        return first, end

    def committed(self, partition: Partition) -> int | None:
        """The offset acknowledged last."""
        key = TopicPartition(partition.topic, partition.index)
        with _translated("asking for offsets"):
            offset: int | None = self._client.committed(key, timeout_ms=METADATA_TIMEOUT_MS)
        return None if offset is None or offset < 0 else offset

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""
        self._client.seek(TopicPartition(partition.topic, partition.index), offset)

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time."""
        with _translated("polling"):
            return _messages(self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages))

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge everything before these offsets."""
        told = {
            TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        with _translated("committing"):
            self._client.commit(told, timeout_ms=COMMIT_TIMEOUT_MS)

    def close(self) -> None:
        """Let go of connections."""
        with _translated("closing"):
            self._client.close(autocommit=False, timeout_ms=COMMIT_TIMEOUT_MS)


class KafkaMessageSink:
    """Writes messages and waits for the answer of every in-sync replica."""

    def __init__(self, connection: Connection, *, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s
        with _translated("connecting", connection):
            self._client = KafkaProducer(
                **_common(connection),
                linger_ms=5,
                batch_size=128 * 1024,
                max_request_size=DEAD_LETTER_MAX_BYTES,
                max_block_ms=10_000,
                request_timeout_ms=10_000,
                delivery_timeout_ms=int(timeout_s * 1000),
                allow_auto_create_topics=False,
            )

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Return once the log has answered for all of them; `flush` alone would not tell."""
        with _translated("writing"):
            futures = [
                self._client.send(
                    one.topic,
                    key=one.key,
                    value=one.value,
                    headers=[(name, value or b"") for name, value in one.headers],
                )
                for one in messages
            ]
            for future in futures:
                future.get(timeout=self._timeout_s)

    def close(self) -> None:
        """Let go of connections."""
        with _translated("closing"):
            self._client.close(timeout=self._timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition."""

    partition: Partition
    committed: int | None
    first: int
    end: int

    @property
    def behind(self) -> int:
        """How many messages are not acknowledged yet, of those still kept."""
        return self.end - max(self.first, self.committed or 0)


def lag(connection: Connection, topics: Sequence[str], *, group: str) -> list[PartitionLag]:
    """How far a group is behind; asks without joining it."""
    reader = KafkaTopicReader(connection, topics, group=group)
    try:
        told = []
        for partition in reader.partitions():
            first, end = reader.bounds(partition)
            told.append(
                PartitionLag(partition=partition, committed=reader.committed(partition), first=first, end=end)
            )
        return told
    finally:
        reader.close()


def ensure_topics(connection: Connection, names: Sequence[str], *, partitions: int) -> list[str]:
    """Make the topics that are missing, one copy each, and return their names.

    A production cluster's topics are better made by whoever runs it: those that
    exist are left as they are.

    Raises:
        LogUnavailable: the broker did not answer.
        Refused: this client may not.
    """
    made = []
    with _administering(connection) as admin:
        there = set(admin.list_topics())
        for name in dict.fromkeys(names):
            if name in there:
                continue
            configs = {"max.message.bytes": str(DEAD_LETTER_MAX_BYTES)} if name.endswith(SUFFIX) else {}
            topic = NewTopic(
                name=name, num_partitions=partitions, replication_factor=-1, topic_configs=configs
            )
            try:
                admin.create_topics([topic], timeout_ms=METADATA_TIMEOUT_MS, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
            made.append(name)
    return made


def broker_answers(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker at the address describes its cluster within the time."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(timeout_s * 1000))
    except (KafkaError, OSError, ValueError):
        return False
    try:
        return bool(admin.describe_cluster())
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # the client has no types
    """Runs on the client's network thread: it may note, and nothing else."""

    def __init__(self, taken: dict[TopicPartition, int]) -> None:
        self._taken = taken

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        for key in revoked:
            self._taken[key] = self._taken.get(key, 0) + 1

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        pass


def _messages(records: Mapping[TopicPartition, Sequence[Any]]) -> list[Message]:
    return [
        Message(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=tuple((name, bytes(value or b"")) for name, value in record.headers),
            timestamp_ms=max(0, record.timestamp),
        )
        for held in records.values()
        for record in held
    ]


def _common(connection: Connection) -> dict[str, Any]:
    return {"bootstrap_timeout_ms": METADATA_TIMEOUT_MS, "client_id": "uniecs-online", **connection}


@contextmanager
def _administering(connection: Connection) -> Iterator[Any]:
    with _translated("asking the broker", connection):
        admin = KafkaAdminClient(**_common(connection))
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def _translated(doing: str, connection: Connection | None = None) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        raise _ours(error, doing, connection) from error


def _ours(error: Exception, doing: str, connection: Connection | None = None) -> Exception:
    """The error of this room that tells what to do; never with a secret in it."""
    where = f" at {connection['bootstrap_servers']}" if connection else ""
    said = f"{doing}{where}: {type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, _LOST):
        return OwnershipLost(said)
    if isinstance(error, _NO):
        return Refused(f"Kafka refused: {said}")
    if isinstance(error, IllegalStateError):
        return OwnershipLost(said)
    return LogUnavailable(f"Kafka did not answer: {said}; check KAFKA_BOOTSTRAP and that the broker runs")
