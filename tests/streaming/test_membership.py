"""Slow batches, hand-overs and huge messages on a real Apache Kafka."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from product_index.product import ProductChange
from product_index.receipt import Receipt
from streaming.change_log import Message, Outgoing
from streaming.dead_letters import CUT, SUFFIX
from streaming.events import MAX_VALUE_BYTES
from streaming.kafka import KafkaMessageSink, ensure_topics
from streaming.worker import Pace, Worker

from .making import Bench, change_json
from .members import GIVE_UP_S, behind, eventually, joined, read_all, standstills, until

pytestmark = pytest.mark.kafka

PACE = Pace(batch_wait_s=0.05, idle_s=0.1)
POLL_INTERVAL_S = 6.0


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
            time.sleep(POLL_INTERVAL_S + 1.5)
        return bench.apply(changes)  # type: ignore[no-any-return]

    with (
        standstills() as stood_still_s,
        closing(joined(connection, topic, max_poll_interval_s=POLL_INTERVAL_S)) as changes,
    ):
        worker = Worker(changes=changes, sink=sink, apply=slow, arrived=arrivals.extend, pace=PACE)
        worker.run(stop=until(lambda: len(arrivals) >= 8))
        taken = dict(changes._taken)

    if max(stood_still_s) > POLL_INTERVAL_S / 2:
        pytest.skip(
            f"this machine stood still for {max(stood_still_s):.1f} s: no consumer could have kept up"
        )
    assert (8, 0) == (sum(calls), behind(connection, topic))
    assert {"new": 8} == {"new": sum(arrival.outcome == "new" for arrival in arrivals)}
    assert {} == taken


def test_a_partition_that_is_asked_back_is_let_go_when_the_work_on_it_is_done(
    connection: dict[str, Any], topic: str, sink: KafkaMessageSink, bench: Bench
) -> None:
    """A second consumer joins in the middle of a slow batch; no two ever work on one product."""
    ids = [f"p-{n}" for n in range(12)]
    sink.send([Outgoing(topic=topic, key=one.encode(), value=change_json(one)) for one in ids])
    begun, asked_back, done = Event(), Event(), Event()
    working: set[str] = set()
    both: list[str] = []

    def slow(changes: Sequence[ProductChange]) -> Receipt:
        working.update(one.product_id for one in changes)
        begun.set()
        assert asked_back.wait(GIVE_UP_S)
        time.sleep(1)  # time for the other to begin, if it could
        receipt = bench.apply(changes)
        working.clear()
        return receipt  # type: ignore[no-any-return]

    def beside(changes: Sequence[ProductChange]) -> Receipt:
        both.extend(working & {one.product_id for one in changes})
        return bench.apply(changes)  # type: ignore[no-any-return]

    def second() -> None:
        begun.wait(GIVE_UP_S)
        with closing(join()) as theirs:
            Worker(changes=theirs, sink=sink, apply=beside, pace=PACE).run(stop=done.is_set)

    join = partial(joined, connection, topic, session_timeout_s=12.0, max_poll_interval_s=300.0)
    thread = Thread(target=second)
    thread.start()
    try:
        with closing(join()) as ours:
            let_go = ours._listener._done

            async def asked(within_s: float) -> None:
                asked_back.set()
                await let_go(within_s)

            ours._listener._done = asked
            worker = Worker(changes=ours, sink=sink, apply=slow, pace=PACE)
            worker.run(stop=until(lambda: bool(ours._taken) and behind(connection, topic) == 0))
            taken = dict(ours._taken)
    finally:
        done.set()
        thread.join()

    assert taken
    assert [] == both
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
        fat.send(topic, key=b"p-1", value=b"x" * (50 * 2**20)).get(timeout=GIVE_UP_S)
        fat.send(topic, key=b"p-2", value=change_json("p-2")).get(timeout=GIVE_UP_S)
    arrivals: list[Any] = []
    with (
        closing(KafkaMessageSink(connection)) as sink,
        closing(joined(connection, topic)) as changes,
    ):
        worker = Worker(changes=changes, sink=sink, apply=bench.apply, arrived=arrivals.extend, pace=PACE)
        worker.run(stop=until(lambda: len(arrivals) >= 3))

    assert ["new", "poison", "new"] == [arrival.outcome for arrival in arrivals]
    assert 0 == behind(connection, topic)
    (dead,) = read_all(connection, topic + SUFFIX)
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

        def all_came() -> bool:
            changes.read_ahead(lambda: True, max_messages=7)
            assert len(changes._early) <= 7
            found.extend(changes.poll(timeout_s=0.2, max_messages=5))
            return len(found) >= 30

        eventually(all_came)
        assert all(changes.owns(one.source) for one in found)

    places = [(one.source, one.offset) for one in found]
    assert 30 == len(set(places)) == len(places)
    for source in {one.source for one in found}:
        offsets = [one.offset for one in found if one.source == source]
        assert sorted(offsets) == offsets
