"""How every Kafka client of this room is opened, what it brings, and its errors in our words."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as failures
from kafka.net.compat import KafkaNetClient
from kafka.structs import OffsetAndMetadata

from .addresses import wait_for_listener
from .change_log import Message, Offsets, Partition
from .errors import Evicted, LogUnavailable, Refused

Connection = Mapping[str, Any]  # what every client of ours is opened with: addresses and security

METADATA_TIMEOUT_MS, COMMIT_TIMEOUT_MS = 20_000, 10_000
METADATA_MAX_AGE_MS = 30_000  # a topic or a partition made meanwhile is found so soon
# Of all partitions together, and of each; one larger message comes alone. The rest waits at the broker.
FETCH_BYTES, PARTITION_FETCH_BYTES = 16 * 2**20, 4 * 2**20

# fmt: off
LOST = (
    failures.IllegalStateError, failures.CommitFailedError, failures.IllegalGenerationError,
    failures.UnknownMemberIdError, failures.FencedInstanceIdError,
)
NO = (
    failures.AuthorizationError, failures.KafkaConfigurationError, failures.MessageSizeTooLargeError,
    failures.RecordListTooLargeError, failures.SaslAuthenticationFailedError,
)
# fmt: on
THERE_ALREADY = failures.TopicAlreadyExistsError


def consumer(connection: Connection, group: str, **more: Any) -> Any:
    """A consumer that acknowledges only when told, starts at the beginning, and makes no topic."""
    return opened(
        KafkaConsumer,
        connection,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        fetch_max_wait_ms=100,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        allow_auto_create_topics=False,
        **more,
    )


def producer(connection: Connection, **more: Any) -> Any:
    """A producer that asks every in-sync replica, and makes no topic."""
    return opened(
        KafkaProducer,
        connection,
        linger_ms=5,
        batch_size=128 * 1024,
        max_block_ms=10_000,
        request_timeout_ms=10_000,
        allow_auto_create_topics=False,
        **more,
    )


class Membership:
    """What the group thinks of a member; kafka-python does not tell, so its coordinator is read.

    Attributes:
        session_s: who is silent for longer is given up.
    """

    def __init__(self, client: Any, *, session_s: float) -> None:
        self.session_s = session_s
        self._coordinator = client._coordinator

    @property
    def name(self) -> str:
        """What the group calls us; whoever was given up gets another. Empty while we have none."""
        return str(self._coordinator._generation.member_id)

    @property
    def silent_s(self) -> float:
        """For how long the group has not heard from us."""
        beat = self._coordinator.heartbeat
        return float(time.monotonic() - max(beat.last_receive, beat.last_reset))

    @property
    def replaced(self) -> bool:
        """Whether another joined with our instance id: the client stops its heartbeat and says nothing."""
        told = self._coordinator
        with told._lock:
            return told.stable() and not told.rejoining and not told._heartbeat_enabled

    def mend(self) -> bool:
        """Ask again for a rejoin that the client would forget; whether there was one.

        Where the topics change, the client begins to rejoin and forgets it if that ends between
        two polls: no heartbeat, no partitions, for ever (Java's did the same until KAFKA-9815).
        Nor does it begin its heartbeat anew, once that has failed, before it joins again.
        """
        told = self._coordinator
        beating = told._heartbeat_loop_future
        forgotten = told.rejoining or (told.stable() and (beating is None or beating.is_done))
        if forgotten:
            told.request_rejoin()
        return bool(forgotten)


def key_of(partition: Partition) -> TopicPartition:
    """A partition as the client names it."""
    return TopicPartition(partition.topic, partition.index)


def acknowledged(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets as the client commits them."""
    return {key_of(one): OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}


def messages_of(records: Sequence[Any]) -> list[Message]:
    """Records of the client as messages."""
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


def opened(kind: Callable[..., Any], connection: Connection, **more: Any) -> Any:
    """A client of this kind, once somebody is at home.

    One of kafka-python that is refused leaves a thread and three files behind, for ever: each
    try of a consumer that waits for its broker would. What it had begun is closed here.
    """
    options = {"bootstrap_timeout_ms": METADATA_TIMEOUT_MS, "client_id": "uniecs-online", **connection}
    wait_for_listener(options["bootstrap_servers"], timeout_s=options["bootstrap_timeout_ms"] / 1000)
    begun = []

    def begin(**told: Any) -> Any:
        begun.append(KafkaNetClient(**told))
        return begun[-1]

    try:
        return kind(**options, **more, kafka_client=begin)
    except BaseException:
        for one in begun:
            one.close()
        raise


@contextmanager
def administering(connection: Connection) -> Iterator[Any]:
    """A client that asks about topics; closed at the end."""
    with translated("asking the broker", connection):
        admin = opened(KafkaAdminClient, connection)
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def translated(doing: str, connection: Connection | None = None) -> Iterator[None]:
    """The client's errors become ours."""
    try:
        yield
    except (failures.KafkaError, OSError) as error:
        raise in_our_words(error, doing, connection) from error


def in_our_words(error: Exception, doing: str, connection: Connection | None = None) -> Exception:
    """The error of this room that tells what to do; never with a secret in it."""
    where = f" at {connection['bootstrap_servers']}" if connection else ""
    said = f"{doing}{where}: {type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, LOST):
        return Evicted(said)
    if isinstance(error, NO):
        return Refused(f"Kafka refused: {said}")
    # The client tells a refused password as silence.
    check = "KAFKA_BOOTSTRAP" + (", KAFKA_SASL_*" if connection and "sasl_mechanism" in connection else "")
    return LogUnavailable(f"Kafka did not answer: {said}; check {check} and that the broker runs")
