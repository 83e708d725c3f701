"""Kafka, for the rest of the room: the only file here that knows its client.

Bytes in and bytes out: a deserializer that raises makes kafka-python's fetch
loop spin for ever. Its errors stop here. Commits are explicit, with a timeout,
on the caller's thread; the rebalance listener only notes what was taken away.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as failures
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from .addresses import wait_for_listener
from .change_log import Message, Offsets, Outgoing, Partition
from .dead_letters import SUFFIX
from .errors import LogUnavailable, OwnershipLost, Refused

# The settings that every client of ours is opened with: addresses and security.
Connection = Mapping[str, Any]

COMMIT_TIMEOUT_MS = 10_000
METADATA_TIMEOUT_MS = 20_000
# A dead letter is the original and what happened to it: it must fit where the original did.
DEAD_LETTER_MAX_BYTES = 10 * 2**20

_LOST = (
    failures.IllegalStateError,
    failures.CommitFailedError,
    failures.IllegalGenerationError,
    failures.UnknownMemberIdError,
    failures.FencedInstanceIdError,
)
_NO = (
    failures.AuthorizationError,
    failures.KafkaConfigurationError,
    failures.MessageSizeTooLargeError,
    failures.RecordListTooLargeError,
    failures.SaslAuthenticationFailedError,
)


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A message, and how often its partition had been taken away from us before."""

    message: Message
    key: TopicPartition
    taken: int


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
        self._early: list[_Fetched] = []
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
        # A partition that was taken away meanwhile is read anew from what was acknowledged.
        early = [one for one in self._early if one.taken == self._taken.get(one.key, 0)]
        fetched, self._early = early[:max_messages], early[max_messages:]
        if not fetched:
            fetched = self._fetch(timeout_s, max_messages)
        self._polled_at.update({one.key: one.taken for one in fetched})
        return [one.message for one in fetched]

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge; only what is still ours since it was polled."""
        told = {TopicPartition(one.topic, one.index): offset for one, offset in offsets.items()}
        polled_at = {key: self._polled_at.get(key) for key in told}
        give_up_at = time.monotonic() + COMMIT_TIMEOUT_MS / 1000
        while True:
            ours = self._client.assignment()
            chosen = {
                key: OffsetAndMetadata(offset, "", -1)
                for key, offset in told.items()
                if key in ours and polled_at[key] == self._taken.get(key, 0)
            }
            try:
                if chosen:
                    self._client.commit(chosen, timeout_ms=COMMIT_TIMEOUT_MS)
                break
            except failures.RebalanceInProgressError as error:
                if time.monotonic() > give_up_at:
                    raise OwnershipLost("the group did not settle in time") from error
                self._settle()
            except failures.KafkaError as error:
                raise _ours(error, "committing") from error
        if len(chosen) < len(told):
            raise OwnershipLost(f"{len(told) - len(chosen)} of {len(told)} partitions were taken over")

    def pause(self) -> None:
        """Take nothing new, stay a member."""
        self._paused = True
        self._client.pause(*self._client.assignment())

    def heartbeat(self) -> None:
        """Poll without taking; what a new partition brings is kept for later."""
        self._early += self._fetch(0.05, None)
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

    def _settle(self) -> None:
        """The group is meeting: a poll joins it."""
        was_paused = self._paused
        self.pause()
        self.heartbeat()
        if not was_paused:
            self.resume()

    def _fetch(self, timeout_s: float, max_messages: int | None) -> list[_Fetched]:
        with _translated("polling"):
            records = self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages)
        # After the poll: it may lose a partition, get it back and read it, all in one call.
        # What it returns has been passed by its position, so it must never be thrown away.
        taken = dict(self._taken)
        return [
            _Fetched(message, key, taken.get(key, 0))
            for key, held in records.items()
            for message in _messages(held)
        ]


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
            records = self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages)
        return [message for held in records.values() for message in _messages(held)]

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
            except failures.TopicAlreadyExistsError:
                continue
            made.append(name)
    return made


def broker_answers(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker at the address describes its cluster within the time."""
    connection = {"bootstrap_servers": bootstrap.split(","), "bootstrap_timeout_ms": int(timeout_s * 1000)}
    try:
        with _administering(connection) as admin:
            return bool(admin.describe_cluster())
    except (LogUnavailable, Refused):
        return False


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


def _messages(records: Sequence[Any]) -> list[Message]:
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
        for record in records
    ]


def _common(connection: Connection) -> dict[str, Any]:
    """What every client is opened with, once somebody is at home.

    A client of kafka-python that finds nobody leaves its sockets open.
    """
    options = {"bootstrap_timeout_ms": METADATA_TIMEOUT_MS, "client_id": "uniecs-online", **connection}
    try:
        wait_for_listener(options["bootstrap_servers"], timeout_s=options["bootstrap_timeout_ms"] / 1000)
    except ValueError as error:
        raise failures.KafkaConfigurationError(str(error)) from None
    except OSError as error:
        raise failures.KafkaTimeoutError(f"nobody accepts a connection ({error})") from error
    return options


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
    except (failures.KafkaError, OSError) as error:
        raise _ours(error, doing, connection) from error


def _ours(error: Exception, doing: str, connection: Connection | None = None) -> Exception:
    """The error of this room that tells what to do; never with a secret in it."""
    where = f" at {connection['bootstrap_servers']}" if connection else ""
    said = f"{doing}{where}: {type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, _LOST):
        return OwnershipLost(said)
    if isinstance(error, _NO):
        return Refused(f"Kafka refused: {said}")
    return LogUnavailable(f"Kafka did not answer: {said}; check KAFKA_BOOTSTRAP and that the broker runs")
