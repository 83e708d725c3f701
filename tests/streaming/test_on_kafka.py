"""The same promises on a real Apache Kafka."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
from kafka.admin import NewPartitions

from experiments.events.kafka_log import KafkaEventLog
from product_index.errors import StoreUnavailable
from product_index.product import ProductChange
from product_index.receipt import Receipt
from streaming.archive import Archiver
from streaming.archive_source import Kind
from streaming.archive_topics import TopicEvents
from streaming.build import group_lag
from streaming.change_log import Message, Outgoing, Partition
from streaming.dead_letters import SUFFIX, replay
from streaming.errors import LogUnavailable, OwnershipLost, Refused
from streaming.events import encode_change
from streaming.kafka import (
    KafkaChangeLog,
    KafkaMessageSink,
    KafkaTopicReader,
    broker_answers,
    ensure_topics,
)
from streaming.kafka_client import administering
from streaming.worker import Pace, Worker

from .making import Bench, change_json, click, exposure, full_change
from .members import GIVE_UP_S, behind, eventually, joined, read_all, until

pytestmark = pytest.mark.kafka

NOWHERE = "127.0.0.1:9"  # the discard port: nothing listens


def run(
    bench: Bench, changes: KafkaChangeLog, sink: KafkaMessageSink, *, apply: Any = None, count: int
) -> None:
    """Work until so many messages have been worked off."""
    seen = 0

    def see(arrivals: Sequence[Any]) -> None:
        nonlocal seen
        seen += len(arrivals)

    worker = Worker(
        changes=changes,
        sink=sink,
        apply=apply or bench.apply,
        arrived=see,
        pace=Pace(batch_wait_s=0.05, idle_s=0.1),
    )
    worker.run(stop=until(lambda: seen >= count))

    assert count == seen


def test_bytes_headers_nulls_and_times_come_back_as_they_were(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink
) -> None:
    """What the adapter carries it does not touch."""
    key, value = encode_change(full_change())
    sink.send([Outgoing(topic=topic, key=key, value=value, headers=(("h", b"\xff"), ("empty", b"")))])
    sink.send([Outgoing(topic=topic, key=key, value=None)])

    first, second = read_all(connection, topic)

    assert (key, value, (("h", b"\xff"), ("empty", b""))) == (first.key, first.value, first.headers)
    assert (key, None) == (second.key, second.value)
    assert abs(first.timestamp_ms - time.time() * 1000) < 600_000


def test_on_kafka_offsets_are_committed_only_after_the_store_has_answered(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """While the store is away everything stays unacknowledged, poison included."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=change_json(f"p-{n}")) for n in range(20)])
    sink.send([Outgoing(topic=topic, key=b"p-1", value=b"poison")])
    behind_at_call: list[int] = []

    def away_twice(changes: Sequence[ProductChange]) -> Receipt:
        if len(behind_at_call) < 2:
            behind_at_call.append(behind(connection, topic))
            raise StoreUnavailable("away")
        return bench.apply(changes)  # type: ignore[no-any-return]

    with closing(joined(connection, topic)) as changes:
        run(bench, changes, sink, apply=away_twice, count=21)

    assert [21, 21] == behind_at_call
    assert (20, 0) == (bench.store.count(), behind(connection, topic))
    (dead,) = read_all(connection, topic + SUFFIX)
    assert (b"p-1", b"poison") == (dead.key, dead.value)


def test_on_kafka_a_consumer_that_dies_before_the_commit_loses_nothing(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """The store has the rows, the offsets are not acknowledged: the next one gets them again."""
    sink.send([Outgoing(topic=topic, key=b"mug-1", value=change_json(version=n)) for n in range(5)])
    changes = joined(connection, topic)

    def dies(_offsets: Any) -> None:
        raise SystemExit

    changes.commit = dies  # type: ignore[assignment,method-assign]
    with pytest.raises(SystemExit):
        run(bench, changes, sink, count=5)
    assert 4 == bench.version_of("mug-1")
    changes.close()

    with closing(joined(connection, topic)) as again:
        run(bench, again, sink, count=5)

    assert (4, 0) == (bench.version_of("mug-1"), behind(connection, topic))


def test_while_paused_nothing_is_taken_and_afterwards_nothing_is_missing(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink
) -> None:
    """Heartbeats of a waiting consumer must not swallow messages."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=b"1") for n in range(50)])
    with closing(joined(connection, topic)) as changes:
        found: list[Message] = []
        while not found:
            found += changes.poll(timeout_s=0.5, max_messages=5)
        changes.pause()
        for _ in range(20):
            changes.heartbeat()
        changes.resume()
        while len(found) < 50:
            found += changes.poll(timeout_s=0.5, max_messages=7)

    assert Counter(f"p-{n}".encode() for n in range(50)) == Counter(one.key for one in found)


def test_a_partition_that_was_taken_over_is_not_acknowledged_by_its_old_owner(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink
) -> None:
    """Its offset belongs to the new owner; a late commit would set it back."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=b"1") for n in range(40)])
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(closing(joined(connection, topic, session_timeout_s=12.0))) for _ in range(2)
        )
        offsets: dict[Partition, int] = {}
        while len(offsets) < 2:
            offsets |= {m.source: m.offset + 1 for m in one.poll(timeout_s=0.2, max_messages=500)}
        theirs: list[Message] = []
        done = Event()

        def consume_beside() -> None:
            while not done.is_set():  # a group settles only while all its members poll
                theirs.extend(other.poll(timeout_s=0.1, max_messages=500))

        beside = Thread(target=consume_beside)
        beside.start()
        try:
            while not theirs:  # cooperative: one partition moves over
                one.poll(timeout_s=0.1, max_messages=500)
            with pytest.raises(OwnershipLost, match="1 of 2 partitions"):
                one.commit(offsets)
        finally:
            done.set()
            beside.join()
        moved = theirs[0].source
        told = {
            entry.partition: entry.committed
            for entry in group_lag(connection, [topic], group=f"group-{topic}")
        }

    assert told[moved] is None
    assert {offset for partition, offset in offsets.items() if partition != moved} == {
        offset for partition, offset in told.items() if partition != moved
    }


def test_dead_letters_are_put_back_on_kafka(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """After a fix, the same bytes go the same road."""
    sink.send([Outgoing(topic=topic, key=b"mug-1", value=b"poison")])
    with closing(joined(connection, topic)) as changes:
        run(bench, changes, sink, count=1)

    counts = []
    for _ in range(2):
        with closing(KafkaTopicReader(connection, [topic + SUFFIX], group=f"replay-{topic}")) as reader:
            counts.append(replay(reader, sink))

    assert [1, 0] == counts
    assert [b"poison", b"poison"] == [message.value for message in read_all(connection, topic)]


def test_exposures_and_outcomes_go_round_from_the_log_to_the_archive(
    connection: dict[str, Any], kafka_bootstrap: str, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    """What was served is what the report reads, each once, also after a restart."""
    topics: dict[str, Kind] = {unique_name("exposures"): "exposures", unique_name("outcomes"): "outcomes"}
    exposures_topic, outcomes_topic = topics
    ensure_topics(connection, list(topics), partitions=2)
    for part in (range(150), range(150, 200)):
        events = KafkaEventLog(
            kafka_bootstrap, exposures_topic=exposures_topic, outcomes_topic=outcomes_topic
        )
        for number in part:
            events.exposed(exposure(number))
            events.happened(click(number))
        events.close(timeout_s=GIVE_UP_S)
        assert (0, 0) == (events.dropped, events.waiting)
        with closing(KafkaTopicReader(connection, list(topics), group=unique_name("archive"))) as reader:
            archiver = Archiver(TopicEvents(reader, topics), tmp_path, chunk_rows=64)
            archiver.run(stop=lambda: False, until_caught_up=True)

    found = {
        kind: Counter(
            row["event_id"]
            for file in tmp_path.glob(f"{kind}/day=*/*.parquet")
            for row in pq.ParquetFile(file).read().to_pylist()
        )
        for kind in ("exposures", "outcomes")
    }
    assert Counter(f"e{n}" for n in range(200)) == found["exposures"]
    assert Counter(f"o{n}" for n in range(200)) == found["outcomes"]


def test_an_event_log_without_a_broker_neither_blocks_nor_raises(unique_name: Callable[[str], str]) -> None:
    """The shopper's request goes on; what is lost is counted."""
    events = KafkaEventLog(NOWHERE, capacity=10, connection={"bootstrap_timeout_ms": 200})

    for number in range(50):
        events.exposed(exposure(number))
        events.happened(click(number))
    events.close(timeout_s=0.5)
    events.exposed(exposure(51))
    events.close(timeout_s=0.5)

    assert (101, 0) == (events.dropped, events.waiting)


def test_a_message_that_is_too_large_is_refused_and_told(topic: str, sink: KafkaMessageSink) -> None:
    """No retry helps."""
    with pytest.raises(Refused, match="MessageSizeTooLarge"):
        sink.send([Outgoing(topic=topic, key=b"k", value=b"x" * 20_000_000)])


def test_a_dead_letter_fits_where_its_original_did(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """Headers make it larger than what the topic of changes takes."""
    value = b"[" + b"1," * 524_000 + b"1]"
    sink.send([Outgoing(topic=topic, key=b"mug-1", value=value)])

    with closing(joined(connection, topic)) as changes:
        run(bench, changes, sink, count=1)

    assert [value] == [message.value for message in read_all(connection, topic + SUFFIX)]


def test_a_broker_that_is_not_there_is_told_with_its_address() -> None:
    """One sentence with the value and the next step; no foreign error gets out."""
    nowhere = {"bootstrap_servers": [NOWHERE], "bootstrap_timeout_ms": 200}

    assert not broker_answers(NOWHERE, timeout_s=0.2)
    for opening in (
        lambda: KafkaMessageSink(nowhere),
        lambda: KafkaTopicReader(nowhere, ["t"], group="g"),
        lambda: KafkaChangeLog(nowhere, ["t"], group="g"),
        lambda: ensure_topics(nowhere, ["t"], partitions=1),
    ):
        with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:9.*check KAFKA_BOOTSTRAP"):
            opening()


def test_topics_that_exist_are_left_as_they_are(connection: dict[str, Any], topic: str) -> None:
    """Another number of partitions would move keys."""
    assert [] == ensure_topics(connection, [topic], partitions=7)
    with closing(KafkaTopicReader(connection, [topic], group="g")) as reader:
        assert 2 == len(reader.partitions())


def test_what_a_poll_returns_is_never_thrown_away(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink
) -> None:
    """One poll may lose a partition, get it back and read it; its position is past those messages then."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=b"1") for n in range(20)])
    with closing(joined(connection, topic)) as changes:
        client_poll = changes._client.poll

        def poll(**options: Any) -> Any:
            records = client_poll(**options)
            for key in records:  # as the rebalance listener notes it
                changes._taken[key] = changes._taken.get(key, 0) + 1
            return records

        changes._client.poll = poll
        found: list[Message] = []

        def all_came() -> bool:
            found.extend(changes.poll(timeout_s=0.5, max_messages=7))
            return len(found) >= 20

        eventually(all_came)
        changes.commit({one.source: one.offset + 1 for one in found})

    assert 20 == len(found)
    assert 0 == behind(connection, topic)


def test_new_partitions_are_taken_although_the_rejoin_ends_between_two_polls(
    connection: dict[str, Any], topic: str
) -> None:
    """The client forgets such a rejoin, and its heartbeat with it: it would take nothing any more."""
    with closing(joined(connection, topic)) as changes:
        while len(changes.assigned()) < 2:
            changes.poll(timeout_s=0.5, max_messages=1)
        with administering(connection) as admin:
            admin.create_partitions({topic: NewPartitions(4)})

        def taken() -> bool:
            changes._client._cluster.request_update()  # as it does by itself, every few minutes
            changes.poll(timeout_s=0.001, max_messages=1)
            return len(changes.assigned()) == 4

        eventually(taken, ask_every_s=0.3)
        assert "stable" in str(changes._client._coordinator.state)
