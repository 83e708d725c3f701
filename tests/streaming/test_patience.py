"""Slow work runs beside the loop, and the group hears from us meanwhile."""

from collections.abc import Callable, Sequence
from threading import Event, current_thread
from typing import Any

import pytest

from product_index.product import ProductChange
from product_index.receipt import Receipt
from streaming.change_log import Partition
from streaming.in_memory import InMemoryChangeLog, InMemoryTopics

from .making import TOPIC, Bench, change_json, put


def test_while_a_batch_is_slow_the_group_hears_from_us(bench: Bench) -> None:
    """The batch ends only after three heartbeats, so without them it never would."""
    put(bench.topics, change_json())
    heard = Event()
    kept: list[bool] = []
    heartbeat, pause = bench.changes.heartbeat, bench.changes.pause

    def beat() -> None:
        heartbeat()
        kept.append(working())
        if bench.changes.heartbeats == 3:
            heard.set()

    working: Callable[[], bool] = lambda: False  # noqa: E731 - rebound below

    def paused(told: Callable[[], bool] = lambda: False) -> None:
        nonlocal working
        working = told
        pause(told)

    bench.changes.heartbeat = beat  # type: ignore[method-assign]
    bench.changes.pause = paused  # type: ignore[method-assign]
    threads: list[str] = []

    def slow(changes: Sequence[ProductChange]) -> Receipt:
        threads.append(current_thread().name)
        assert heard.wait(300)
        return bench.apply(changes)  # type: ignore[no-any-return]

    bench.run(apply=slow)

    assert 1 == bench.version_of("mug-1")
    assert bench.changes.heartbeats >= 3
    assert [True, True] == kept[:2]
    assert not working()
    assert threads[0] != current_thread().name
    assert [] != bench.changes.commits


def test_a_quick_batch_is_not_paused_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pausing costs a fetch; only slow work needs it."""
    monkeypatch.setattr("streaming.patience.HEARTBEAT_S", 300.0)  # however busy this machine, it is quick
    put(bench.topics, change_json())

    bench.run()

    assert 0 == bench.changes.heartbeats


class TakenAway(InMemoryChangeLog):
    """One partition goes to another member after it was polled."""

    def owns(self, partition: Partition) -> bool:
        return partition.index == 0

    def commit(self, offsets: Any) -> None:
        assert {0} == {partition.index for partition in offsets}
        super().commit(offsets)


def test_what_was_taken_away_before_the_work_is_left_to_its_new_owner() -> None:
    """Two writers on one product could set its row back."""
    bench = Bench()
    ids = [f"p-{number}" for number in range(20)]
    for one in ids:
        put(bench.topics, change_json(one), key=one)
    bench.changes = TakenAway(bench.topics, TOPIC)

    totals = bench.run()

    theirs = {(message.key or b"").decode() for message in bench.topics.held(Partition(TOPIC, 1))}
    assert theirs
    assert set(ids) - theirs == set(bench.store.fingerprints(ids))
    assert 20 - len(theirs) == totals.messages


def test_worked_batches_tell_their_stages_and_what_was_acknowledged(bench: Bench) -> None:
    """What the metrics are made of."""
    put(bench.topics, change_json())
    bad = put(bench.topics, b"poison")
    told: list[Any] = []

    bench.run(worked=told.append)

    (worked,) = told
    assert (2, {"new": 1, "poison": 1}) == (worked.messages, dict(worked.outcomes))
    assert {bad.source: 2} == dict(worked.offsets)
    assert ["decode", "apply", "set_aside", "commit"] == list(worked.stages_s)
    assert all(seconds > 0 for seconds in worked.stages_s.values())


def test_topics_twin_is_unchanged() -> None:
    """The twin's member owns all partitions of its topic."""
    changes = InMemoryChangeLog(InMemoryTopics(partitions=2), TOPIC)

    assert [True, True, False] == [changes.owns(Partition(TOPIC, index)) for index in range(3)]
