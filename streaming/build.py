"""The one place that chooses: puts this room's programs together from settings.

The Kafka client, the encoder and the database load here and nowhere earlier.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from product_index import build as index_build
from product_index.encoder import Encoder
from product_index.errors import Retryable, UnknownCollection
from product_index.pictures import Pictures
from product_index.product import ProductChange
from product_index.receipt import Receipt
from product_index.refresh import apply_changes
from product_index.settings import read_settings as read_index_settings
from product_index.vector_store import VectorDatabase, VectorStore

from .archive_source import Kind
from .archive_topics import TopicEvents
from .change_log import Message, MessageSink
from .dead_letters import SUFFIX
from .debezium import change_from_row
from .errors import InvalidSettings
from .events import decode_change
from .freshness import Arrival, FreshnessFile
from .lag import PartitionLag, lag
from .lookout import LOOPBACK, Lookout, serving
from .mapping import read_mapping
from .metrics import ConsumerMetrics
from .pace import GroupPace, oldest_waiting
from .settings import Settings
from .worker import Pace, Worker

log = structlog.get_logger()


class FollowAlias:
    """Applies changes to whatever collection the alias names at that moment.

    The alias is asked before every batch, so that a consumer follows a switch
    without a restart; the collection is opened again only when it changed.
    """

    def __init__(
        self,
        database: VectorDatabase,
        alias: str,
        encoder: Encoder,
        pictures: Pictures,
        *,
        check: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._check = check
        self._database = database
        self._alias = alias
        self._encoder = encoder
        self._pictures = pictures
        self._now = now
        self._store: VectorStore | None = None

    def __call__(self, changes: Sequence[ProductChange]) -> Receipt:
        """Bring the index up to these changes.

        Raises:
            UnknownCollection: the alias points nowhere yet.
            Retryable: store or pictures did not answer.
        """
        name = self._database.resolve(self._alias)
        if name is None:
            raise UnknownCollection(
                f"alias {self._alias!r} points to no collection; build the index first "
                "(the DAG refresh_product_index, or `python -m product_index rebuild`), or set PRODUCT_ALIAS"
            )
        if self._store is None or self._store.name != name:
            self._store = self._database.open(name)
        try:
            receipt = apply_changes(
                changes,
                self._encoder,
                self._store,
                self._pictures,
                now=self._now(),
                before_writing=self._check,
            )
        except Retryable:
            # A server that was started again has to load the collection: open it anew next time.
            self._store = None
            raise
        self._check()
        return receipt


@contextmanager
def open_worker(
    settings: Settings,
    *,
    freshness_log: Path | None = None,
    metrics_port: int | None = None,
    stall_after_s: float = 60.0,
) -> Iterator[Worker]:
    """A worker on the real change log and the real index; closed at the end, whatever happens.

    Args:
        settings: of this room; the index reads its own.
        freshness_log: takes one JSON line per change.
        metrics_port: on loopback, for /metrics and /healthz; 0 for any, None for none.
        stall_after_s: a partition with work that does not move for so long is stalled.
    """
    client = kafka_adapter()
    connection = settings.connection()
    read = change_reader(settings)
    index = read_index_settings()
    with ExitStack() as closing:
        encoder = index_build.build_encoder(index)
        patience = {"picture_patience_s": settings.consumer_picture_patience_s}
        pictures = index_build.build_pictures(index.model_copy(update=patience))
        database = index_build.build_database(index)
        closing.callback(database.close)
        ensure_topics(settings, [settings.changes_topic, settings.changes_topic + SUFFIX])
        sink = client.KafkaMessageSink(connection)
        closing.callback(sink.close)
        changes = client.KafkaChangeLog(
            connection,
            [settings.changes_topic],
            group=settings.consumer_group,
            instance_id=settings.consumer_instance_id,
            session_timeout_s=settings.consumer_session_timeout_s,
            max_poll_interval_s=settings.consumer_max_poll_interval_s,
        )
        closing.callback(changes.close)
        metrics = ConsumerMetrics()
        heard: list[Callable[[Sequence[Arrival]], None]] = [metrics.arrived]
        if freshness_log is not None:
            heard.append(FreshnessFile(freshness_log))
        if metrics_port is not None:
            reader = client.KafkaTopicReader(
                connection, [settings.changes_topic], group=settings.consumer_group
            )
            closing.callback(reader.close)
            lookout = Lookout(
                metrics,
                lambda: lag(reader),
                changes.assigned,
                stall_after_s=stall_after_s,
                silent_s=changes.silent_s,
            )
            port = closing.enter_context(serving(metrics, lookout, port=metrics_port))
            log.info("telling", metrics=f"http://{LOOPBACK}:{port}/metrics", stall_after_s=stall_after_s)

        def arrived(arrivals: Sequence[Arrival]) -> None:
            for hear in heard:
                hear(arrivals)

        yield Worker(
            changes=changes,
            sink=sink,
            apply=FollowAlias(database, index.product_alias, encoder, pictures, check=changes.check),
            pace=Pace(
                batch_size=settings.batch_size,
                backlog_batch_size=settings.backlog_batch_size,
                batch_wait_s=settings.batch_wait_s,
            ),
            read=read,
            arrived=arrived,
            worked=lambda worked: metrics.worked(worked, at_s=time.time()),
        )


def change_reader(settings: Settings) -> Callable[[Message], ProductChange | None]:
    """What makes changes of messages: our own form, or by a mapping also rows of a table.

    Raises:
        InvalidSettings: the mapping cannot be read.
    """
    if settings.changes_mapping is None:
        return decode_change
    mapping = read_mapping(settings.changes_mapping)
    return lambda message: change_from_row(message, mapping)


@contextmanager
def open_topic_events(settings: Settings) -> Iterator[TopicEvents]:
    """What the archive reads where events go to Kafka: both topics."""
    kinds: dict[str, Kind] = {settings.exposures_topic: "exposures", settings.outcomes_topic: "outcomes"}
    ensure_topics(settings, list(kinds))
    adapter = kafka_adapter()
    reader = adapter.KafkaTopicReader(settings.connection(), list(kinds), group=settings.archive_group)
    try:
        yield TopicEvents(reader, kinds)
    finally:
        reader.close()


@contextmanager
def open_sink(settings: Settings) -> Iterator[MessageSink]:
    """Where messages are written."""
    sink = kafka_adapter().KafkaMessageSink(settings.connection())
    try:
        yield sink
    finally:
        sink.close()


def group_lag(connection: Mapping[str, Any], topics: Sequence[str], *, group: str) -> list[PartitionLag]:
    """How far a group is behind in each partition of these topics."""
    reader = kafka_adapter().KafkaTopicReader(connection, topics, group=group)
    try:
        return lag(reader)
    finally:
        reader.close()


def group_paces(
    connection: Mapping[str, Any], asked: Sequence[tuple[str, Sequence[str]]], *, over_s: float
) -> dict[str, GroupPace]:
    """How far groups are behind in their topics, and how fast they move, watched for `over_s`."""
    with ExitStack() as closing:
        readers = {}
        for group, topics in asked:
            readers[group] = kafka_adapter().KafkaTopicReader(connection, topics, group=group)
            closing.callback(readers[group].close)
        began_s = time.monotonic()
        before = {group: lag(reader) for group, reader in readers.items()}
        time.sleep(over_s)
        took_s = time.monotonic() - began_s
        return {
            group: GroupPace(
                before=before[group], after=lag(reader), over_s=took_s, waiting=oldest_waiting(reader)
            )
            for group, reader in readers.items()
        }


def ensure_topics(settings: Settings, names: Sequence[str]) -> list[str]:
    """Make the topics that are missing."""
    adapter = kafka_adapter()
    made: list[str] = adapter.ensure_topics(
        settings.connection(), names, partitions=settings.topic_partitions
    )
    return made


def kafka_adapter() -> ModuleType:
    """The adapter, loaded when Kafka is chosen.

    Raises:
        InvalidSettings: the client is not installed.
    """
    try:
        from . import kafka as adapter
    except ImportError as error:
        raise InvalidSettings(
            f"the Kafka client is not installed ({error}); `pip install 'uniecs-online[streaming]'`"
        ) from error
    return adapter
