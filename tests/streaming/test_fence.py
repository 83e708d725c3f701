"""A consumer that the group gave up in the middle of a batch: it neither acknowledges nor sets rows back."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from product_index.product import ProductChange
from product_index.receipt import Receipt
from product_index.refresh import apply_changes
from streaming.change_log import ChangeLog, Outgoing
from streaming.dead_letters import SUFFIX
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, ensure_topics
from streaming.worker import Pace, Worker

from .making import NOON, Bench, change_json, put
from .members import GIVE_UP_S, behind, eventually, joined

PACE = Pace(batch_wait_s=0.05, idle_s=0.1)


def fenced(
    bench: Bench, log: ChangeLog, before_writing: Callable[[], None]
) -> Callable[[Sequence[ProductChange]], Receipt]:
    """The real path of the index, with something that happens between the check and the write."""

    def check() -> None:
        log.check()
        before_writing()

    def apply(changes: Sequence[ProductChange]) -> Receipt:
        pictures, encoder = bench.pictures, bench.encoder
        receipt = apply_changes(changes, encoder, bench.store, pictures, now=NOON, before_writing=check)
        log.check()
        return receipt

    return apply


def test_what_was_taken_over_before_the_write_is_not_acknowledged_and_the_rest_is(bench: Bench) -> None:
    """The encoder may have worked for a minute between the question and the write."""
    messages = [put(bench.topics, change_json(f"p-{n}"), key=f"p-{n}") for n in range(20)]
    lost, kept = sorted({message.source for message in messages})

    def taken_over() -> None:
        if bench.changes.owns(lost):
            bench.changes.lose(lost)
        bench.changes.check()

    bench.run(apply=fenced(bench, bench.changes, taken_over))

    assert {("group", kept): len(bench.topics.held(kept))} == bench.topics.committed
    assert 20 == bench.store.count()  # of what was taken over: as the log has it, through the gate


def test_what_was_written_late_over_a_newer_row_is_put_right(bench: Bench) -> None:
    """Frozen between the check and the write; the new owner has written what came since."""
    put(bench.topics, change_json(version=1, title="first"))
    other = Bench()
    other.topics, other.store = bench.topics, bench.store
    woken: list[bool] = []

    def frozen() -> None:
        if woken:
            return
        woken.append(True)
        for version in (2, 3):
            put(bench.topics, change_json(version=version, title=f"title {version}"))
        other.restart()
        other.run()
        assert 3 == bench.version_of("mug-1")
        for partition in bench.changes.assigned():
            bench.changes.lose(partition)

    bench.run(apply=fenced(bench, bench.changes, frozen))

    assert 3 == bench.version_of("mug-1")
    assert "title 3" == bench.store.get(["mug-1"])["mug-1"].title


@pytest.mark.kafka
def test_of_three_consumers_the_one_that_was_evicted_in_mid_batch_changes_nothing(
    connection: dict[str, Any], sink: KafkaMessageSink, bench: Bench, unique_name: Callable[[str], str]
) -> None:
    """It read version 1, was given up by the group, and wakes up after the others wrote version 2."""
    topic = unique_name("product-changes")
    ensure_topics(connection, [topic, topic + SUFFIX], partitions=3)
    ids = [f"p-{number}" for number in range(30)]
    publish(sink, topic, ids, version=1)
    evicted, others_wrote, done = Event(), Event(), Event()
    with ExitStack() as stack:
        join = partial(joined, connection, topic, session_timeout_s=6.0)  # so long it has to be silent
        logs = [stack.enter_context(closing(join()))]

        def frozen() -> None:
            if not evicted.is_set():
                # As a frozen process: no heartbeat leaves, and the group gives it up after the session.
                coordinator = logs[0]._client._coordinator
                coordinator._disable_heartbeat()
                evicted.set()
                assert others_wrote.wait(GIVE_UP_S)
                coordinator._heartbeat_enabled = True
                coordinator._heartbeat_wakeup.notify()

        def work(log: KafkaChangeLog, before_writing: Callable[[], None], worked: Any) -> Thread:
            apply = fenced(bench, log, before_writing)
            worker = Worker(changes=log, sink=sink, apply=apply, pace=PACE, worked=worked)
            thread = Thread(target=worker.run, kwargs={"stop": done.is_set})
            thread.start()
            return thread

        woken: list[Any] = []
        threads = [work(logs[0], frozen, woken.append)]
        assert evicted.wait(GIVE_UP_S)
        logs += [stack.enter_context(closing(join())) for _ in range(2)]
        threads += [work(log, lambda: None, lambda _worked: None) for log in logs[1:]]
        publish(sink, topic, ids, version=2)
        eventually(lambda: versions(bench, ids) == [2] * 30)
        others_wrote.set()
        eventually(lambda: behind(connection, topic) == 0 and woken != [])
        done.set()
        for thread in threads:
            thread.join()

    assert {} == woken[0].offsets
    assert [2] * 30 == versions(bench, ids)
    assert 0 == behind(connection, topic)


def publish(sink: KafkaMessageSink, topic: str, ids: Sequence[str], *, version: int) -> None:
    sink.send(
        [Outgoing(topic=topic, key=one.encode(), value=change_json(one, version=version)) for one in ids]
    )


def versions(bench: Bench, ids: Sequence[str]) -> list[int]:
    return [one.version for one in bench.store.fingerprints(ids).values()]
