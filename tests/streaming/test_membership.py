"""Slow batches, hand-overs and huge messages on a real Apache Kafka."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from threading import Event, Thread
from typing import Any

import pytest

from product_index.product import ProductChange
from product_index.refresh import Receipt
from streaming.change_log import Message, Outgoing
from streaming.dead_letters import CUT, SUFFIX
from streaming.events import MAX_VALUE_BYTES
from streaming.kafka import KafkaMessageSink, KafkaTopicReader, ensure_topics
from streaming.worker import Pace, Worker

from .making import Bench, change_json
from .members import behind, joined

pytestmark = pytest.mark.kafka

PACE = Pace(batch_wait_s=0.05, idle_s=0.1)


def test_a_batch_slower_than_the_poll_interval_keeps_its_membership(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """It is applied once, acknowledged at once, and nothing is delivered again."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=change_json(f"p-{n}")) for n in range(8)])
    calls: list[int] = []
    arrivals: list[Any] = []

    def slow(changes: Sequence[ProductChange]) -> Receipt:
        calls.append(len(changes))
        if len(calls) == 1:
            time.sleep(7.5)  # the poll interval is 6 s
        return bench.apply(changes)  # type: ignore[no-any-return]

    with closing(joined(connection, topic, max_poll_interval_s=6.0)) as changes:
        worker = Worker(changes=changes, sink=sink, apply=slow, arrived=arrivals.extend, pace=PACE)
        give_up_s = time.monotonic() + 60
        worker.run(stop=lambda: len(arrivals) >= 8 or time.monotonic() > give_up_s)
        taken = dict(changes._taken)

    assert (8, 0) == (sum(calls), behind(connection, topic))
    assert {"new": 8} == {"new": sum(arrival.outcome == "new" for arrival in arrivals)}
    assert {} == taken


def test_a_partition_that_is_asked_back_is_let_go_when_the_work_on_it_is_done(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """A second consumer joins in the middle of a slow batch; no two ever work on one product."""
    ids = [f"p-{n}" for n in range(12)]
    sink.send([Outgoing(topic=topic, key=one.encode(), value=change_json(one)) for one in ids])
    working, another, done = Event(), Event(), Event()
    during: list[str] = []
    seen: list[Any] = []

    def slow(changes: Sequence[ProductChange]) -> Receipt:
        working.set()
        time.sleep(3)
        receipt = bench.apply(changes)
        working.clear()
        return receipt  # type: ignore[no-any-return]

    def beside(changes: Sequence[ProductChange]) -> Receipt:
        if working.is_set():
            during.extend(one.product_id for one in changes)
        return bench.apply(changes)  # type: ignore[no-any-return]

    def second() -> None:
        working.wait(30)
        with closing(joined(connection, topic)) as theirs:
            worker = Worker(changes=theirs, sink=sink, apply=beside, arrived=seen.extend, pace=PACE)
            another.set()
            worker.run(stop=done.is_set)

    thread = Thread(target=second)
    thread.start()
    try:
        with closing(joined(connection, topic, max_poll_interval_s=60.0)) as ours:
            worker = Worker(changes=ours, sink=sink, apply=slow, arrived=seen.extend, pace=PACE)
            give_up_s = time.monotonic() + 60
            moved = lambda: bool(ours._taken) and behind(connection, topic) == 0  # noqa: E731
            worker.run(stop=lambda: (another.is_set() and moved()) or time.monotonic() > give_up_s)
            taken = dict(ours._taken)
    finally:
        done.set()
        thread.join()

    assert taken
    assert [] == during
    assert (12, 0) == (bench.store.count(), behind(connection, topic))


def test_a_message_of_50_mb_is_set_aside_and_the_stream_goes_on(
    connection: dict[str, Any], unique_name: Callable[[str], str], bench: Bench
) -> None:
    """Where a broker lets it in at all; what is kept of it says what it was and where it lies."""
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic

    topic = unique_name("product-changes")
    with closing(KafkaAdminClient(**connection)) as admin:
        wide = {"max.message.bytes": str(64 * 2**20), "segment.bytes": str(128 * 2**20)}
        admin.create_topics([NewTopic(topic, 1, 1, topic_configs=wide)], wait_for_metadata=True)
    ensure_topics(connection, [topic + SUFFIX], partitions=1)
    with closing(KafkaProducer(**connection, max_request_size=64 * 2**20)) as fat:
        fat.send(topic, key=b"p-0", value=change_json("p-0"))
        fat.send(topic, key=b"p-1", value=b"x" * (50 * 2**20)).get(timeout=60)
        fat.send(topic, key=b"p-2", value=change_json("p-2")).get(timeout=60)
    arrivals: list[Any] = []
    with (
        closing(KafkaMessageSink(connection)) as sink,
        closing(joined(connection, topic)) as changes,
    ):
        worker = Worker(changes=changes, sink=sink, apply=bench.apply, arrived=arrivals.extend, pace=PACE)
        give_up_s = time.monotonic() + 60
        worker.run(stop=lambda: len(arrivals) >= 3 or time.monotonic() > give_up_s)

    assert ["new", "poison", "new"] == [arrival.outcome for arrival in arrivals]
    assert 0 == behind(connection, topic)
    with closing(KafkaTopicReader(connection, [topic + SUFFIX], group="look")) as reader:
        (dead,) = reader.poll(timeout_s=10.0, max_messages=10)
    told = dict(dead.headers)
    assert f"at most {MAX_VALUE_BYTES:,} are read" in told["dead.reason"].decode()
    assert told[CUT].startswith(b"52428800 bytes, sha256 ")


def test_what_was_read_ahead_comes_with_the_next_poll_each_once_and_in_order(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink
) -> None:
    """While a batch is applied the next is taken from the client, and no more than there is room for."""
    sink.send([Outgoing(topic=topic, key=f"p-{n}".encode(), value=change_json(f"p-{n}")) for n in range(30)])
    found: list[Message] = []
    with closing(joined(connection, topic)) as changes:
        give_up_s = time.monotonic() + 60
        while len(found) < 30 and time.monotonic() < give_up_s:
            changes.read_ahead(lambda: True, max_messages=7)
            assert len(changes._early) <= 7
            found += changes.poll(timeout_s=0.2, max_messages=5)
        assert all(changes.owns(one.source) for one in found)

    places = [(one.source, one.offset) for one in found]
    assert 30 == len(set(places)) == len(places)
    for source in {one.source for one in found}:
        offsets = [one.offset for one in found if one.source == source]
        assert sorted(offsets) == offsets
