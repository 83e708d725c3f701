"""The stream of changes, as a rebuild reads it again: topics in the role of `ChangeFeed`.

No schedule here; the tasks of this folder open it when they need it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from product_index.errors import ChangesLost, InvalidSettings
from product_index.product import ProductChange
from streaming.change_log import Message, MessageSink, Outgoing, Partition, TopicReader
from streaming.errors import Unreadable
from streaming.events import encode_change

# Kafka leaves gaps where transactions ended or compaction went. So many empty
# polls in a row are one, if the broker has answered another question after each:
# it answers a connection in order, so what a slow one was asked for has come by then.
EMPTY_POLLS, POLL_S = 5, 1.0


class TopicFeed:
    """One topic, whole, from any mark.

    A message that cannot be read is passed over: the consumer sets it aside.
    """

    def __init__(
        self,
        reader: TopicReader,
        sink: MessageSink,
        topic: str,
        *,
        read: Callable[[Message], ProductChange | None],
        own_form: bool = True,
    ) -> None:
        """Take what it reads with.

        Args:
            reader: of that topic only.
            sink: for what is said again.
            topic: of the changes.
            read: from a message to a change; None for what is no change.
            own_form: whether changes that were never in the topic may be written to it.
        """
        self._reader = reader
        self._sink = sink
        self._topic = topic
        self._read = read
        self._own_form = own_form
        self._messages: dict[tuple[str, int | None, int], Message] = {}

    def mark(self) -> dict[str, int]:
        """Where each partition ends now."""
        return {str(one.index): self._reader.bounds(one)[1] for one in self._reader.partitions()}

    def back_to(self, moment: datetime, marks: Mapping[str, int]) -> dict[str, int]:
        """These marks, or where the first message since then lies: what is earlier, and still kept."""
        earlier = dict(marks)
        for partition in self._reader.partitions():
            name = str(partition.index)
            if name in earlier:
                earlier[name] = min(earlier[name], self._reader.offset_at(partition, moment))
        return earlier

    def since(
        self, marks: Mapping[str, int], *, size: int
    ) -> Iterator[tuple[list[ProductChange], dict[str, int]]]:
        """Pages up to the end as of now; partitions that were added since are read whole."""
        ends, reached = {}, {}
        for partition in self._reader.partitions():
            first, end = self._reader.bounds(partition)
            start = marks.get(str(partition.index), 0)
            if start < first and str(partition.index) in marks:
                raise ChangesLost(
                    f"{self._topic}/{partition.index} keeps changes from {first} on, those from {start} are "
                    "needed; keep them for longer than a rebuild takes (retention.ms), then begin a new one"
                )
            self._reader.seek(partition, start)
            if start < end:
                ends[partition] = end
            reached[str(partition.index)] = start
        empty = 0
        while ends:
            messages = self._reader.poll(timeout_s=POLL_S, max_messages=size)
            if messages:
                empty = 0
                wanted = [one for one in messages if one.offset < ends.get(one.source, 0)]
                for one in messages:
                    _move_on(one, ends, reached)
                yield self._changes(wanted), dict(reached)
                continue
            for partition in ends:  # a broker that is gone says so here
                self._reader.bounds(partition)
            empty += 1
            if empty == EMPTY_POLLS:
                yield [], reached | {str(one.index): end for one, end in ends.items()}
                return

    def publish(self, changes: Sequence[ProductChange]) -> None:
        """Say them again, as they were said; what was never said, in our own form.

        Raises:
            InvalidSettings: the topic carries rows of a table, which only its database may write.
        """
        said = []
        for change in changes:
            message = self._messages.get(_identity(change))
            if message is not None:
                said.append(
                    Outgoing(topic=self._topic, key=message.key, value=message.value, headers=message.headers)
                )
                continue
            if not self._own_form:
                raise InvalidSettings(
                    f"{self._topic} carries rows of a table (CHANGES_MAPPING): {change.product_id!r} cannot "
                    "be told here; touch its row in the database, the change log then tells it again"
                )
            key, value = encode_change(change)
            said.append(Outgoing(topic=self._topic, key=key, value=value))
        self._sink.send(said)

    def _changes(self, messages: Sequence[Message]) -> list[ProductChange]:
        self._messages = {}
        changes = []
        for message in messages:
            try:
                change = self._read(message)
            except Unreadable:
                continue
            if change is not None:
                changes.append(change)
                self._messages[_identity(change)] = message
        return changes


@contextmanager
def open_feed() -> Iterator[TopicFeed | None]:
    """The feed of CHANGES_TOPIC; None, and a line that says so, where KAFKA_BOOTSTRAP is not set.

    Raises:
        LogUnavailable: it is set and does not answer.
    """
    from streaming import build
    from streaming.settings import read_settings

    settings = read_settings()
    if "kafka_bootstrap" not in settings.model_fields_set:
        print("KAFKA_BOOTSTRAP is not set: nothing is taken from the stream of changes, nor given to it")
        yield None
        return
    build.ensure_topics(settings, [settings.changes_topic])
    reader = build.kafka_adapter().KafkaTopicReader(
        settings.connection(), [settings.changes_topic], group=f"{settings.consumer_group}-rebuild"
    )
    try:
        with build.open_sink(settings) as sink:
            yield TopicFeed(
                reader,
                sink,
                settings.changes_topic,
                read=build.change_reader(settings),
                own_form=settings.changes_mapping is None,
            )
    finally:
        reader.close()


def _move_on(message: Message, ends: dict[Partition, int], reached: dict[str, int]) -> None:
    end = ends.get(message.source)
    if end is None:
        return
    reached[str(message.partition)] = min(message.offset + 1, end)
    if message.offset + 1 >= end:
        del ends[message.source]


def _identity(change: ProductChange) -> tuple[str, int | None, int]:
    return change.product_id, change.version, change.occurred_at_ms
