"""The promises of the loop, on the in-memory twins."""

from collections.abc import Sequence
from typing import Any

import pytest

from product_index.errors import InvalidProduct, ModelMismatch, PictureUnavailable, StoreUnavailable
from product_index.product import ProductChange
from product_index.receipt import Receipt
from streaming.change_log import Outgoing, Partition
from streaming.dead_letters import SUFFIX
from streaming.errors import LogUnavailable
from streaming.in_memory import InMemoryTopics
from streaming.worker import Pace

from .making import NOON, TOPIC, Bench, change_json, put

DEAD = TOPIC + SUFFIX


def told(message: Any) -> dict[str, str]:
    """A dead letter's headers as text."""
    return {name: value.decode() for name, value in message.headers}


def test_a_change_is_found_in_the_index_and_acknowledged(bench: Bench) -> None:
    """The road, once."""
    message = put(bench.topics, change_json(version=5))

    totals = bench.run()

    assert 5 == bench.version_of("mug-1")
    assert 1 == totals.messages
    assert {"new": 1} == totals.by_class
    assert message.offset + 1 == bench.topics.committed["group", message.source]


def test_offsets_are_committed_only_after_the_store_has_answered(bench: Bench) -> None:
    """A store that fails first: nothing is acknowledged until it has answered."""
    put(bench.topics, change_json())
    seen_at_call: list[int] = []

    def fails_twice(changes: Sequence[ProductChange]) -> Receipt:
        seen_at_call.append(len(bench.changes.commits))
        if len(seen_at_call) <= 2:
            raise StoreUnavailable("down for a moment")
        return bench.apply(changes)  # type: ignore[no-any-return]

    bench.run(apply=fails_twice)

    assert [0, 0, 0] == seen_at_call
    assert 1 == len(bench.changes.commits)
    assert [] == bench.topics.messages(DEAD)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), PictureUnavailable("away")])
def test_what_does_not_answer_is_waited_for_and_never_dead_lettered(bench: Bench, error: Exception) -> None:
    """An outage is not the message's fault; meanwhile the group hears from us."""
    put(bench.topics, change_json())
    calls = 0

    def away_for_six_calls(changes: Sequence[ProductChange]) -> Receipt:
        nonlocal calls
        calls += 1
        if calls <= 6:
            raise error
        return bench.apply(changes)  # type: ignore[no-any-return]

    bench.run(apply=away_for_six_calls)

    assert 1 == bench.version_of("mug-1")
    assert [] == bench.topics.messages(DEAD)
    assert bench.changes.heartbeats >= 6
    assert bench.steady_s > 3  # 0.2 + 0.4 + ... + 6.4 s, at least half of it after jitter


def test_told_to_stop_while_the_store_is_away_it_goes_and_acknowledges_nothing(bench: Bench) -> None:
    """A stop must not wait for an outage, nor lose the batch to it."""
    put(bench.topics, change_json())
    asked = False

    def away(_changes: Sequence[ProductChange]) -> Receipt:
        nonlocal asked
        asked = True
        raise StoreUnavailable("away")

    bench.run(apply=away, stop=lambda: asked)

    assert [] == bench.changes.commits
    bench.restart()
    bench.run()
    assert 1 == bench.version_of("mug-1")


def test_told_to_stop_in_mid_batch_it_finishes_that_one_and_takes_no_other(bench: Bench) -> None:
    """So a stop takes one batch and its acknowledgement, however long the backlog is."""
    for number in range(500):
        put(bench.topics, change_json(f"p-{number}"), key=f"p-{number}")
    asked = False
    polls = 0
    poll = bench.changes.poll

    def counted(**options: Any) -> Any:
        nonlocal polls
        polls += asked
        return poll(**options)

    def told_meanwhile(changes: Sequence[ProductChange]) -> Receipt:
        nonlocal asked
        asked = True
        return bench.apply(changes)  # type: ignore[no-any-return]

    bench.changes.poll = counted  # type: ignore[method-assign]
    totals = bench.run(apply=told_meanwhile, stop=lambda: asked, pace=Pace(batch_size=64, batch_wait_s=0.0))

    assert (1, 64, 0) == (totals.batches, totals.messages, polls)
    assert 64 == bench.store.count() == sum(bench.topics.committed.values())
    bench.restart()
    bench.run()
    assert 500 == bench.store.count()


def test_a_crash_between_the_store_and_the_commit_redelivers_without_harm(bench: Bench) -> None:
    """Twice is the same as once."""
    put(bench.topics, change_json(version=1))
    put(bench.topics, change_json(version=2, title="blue mug"))

    def crash(_offsets: Any) -> None:
        raise KeyboardInterrupt

    bench.changes.commit = crash  # type: ignore[assignment,method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    before = bench.store.get(["mug-1"])["mug-1"]
    bench.restart()
    totals = bench.run()

    after = bench.store.get(["mug-1"])["mug-1"]
    assert 2 == after.fingerprint.version
    assert before.vector.tobytes() == after.vector.tobytes()
    assert {"superseded": 1, "stale": 1} == totals.by_class


def test_a_crash_at_any_point_loses_nothing(bench: Bench) -> None:
    """Whichever call is the last one before the crash, the index ends the same."""
    for number in range(20):
        put(
            bench.topics,
            change_json(f"p-{number % 7}", version=number, title=f"n {number}"),
            key=f"p-{number % 7}",
        )
    put(bench.topics, b"poison", key="p-0")
    budget = 0

    def crashing(act: Any, name: str) -> Any:
        def call(*args: Any) -> Any:
            nonlocal budget
            budget -= 1
            if budget < 0:
                raise SystemExit(name)
            done = act(*args)
            budget -= 1
            if budget < 0:
                raise SystemExit(f"after {name}")
            return done

        return call

    for last in range(40):
        bench.restart()
        budget = last % 9
        bench.changes.commit = crashing(bench.changes.commit, "commit")  # type: ignore[method-assign]
        sink = InMemoryTopics()
        sink.send = crashing(bench.topics.send, "send")  # type: ignore[method-assign]
        try:
            bench.run(
                apply=crashing(bench.apply, "apply"), sink=sink, pace=Pace(batch_size=4, batch_wait_s=0.0)
            )
        except SystemExit:
            continue

    assert {f"p-{n}": 14 + n if n < 6 else 13 for n in range(7)} == {
        f"p-{n}": bench.version_of(f"p-{n}") for n in range(7)
    }
    assert {b"poison"} == {message.value for message in bench.topics.messages(DEAD)}
    assert 21 == sum(bench.topics.committed.values())


def test_poison_is_set_aside_with_its_bytes_and_the_rest_goes_on(bench: Bench) -> None:
    """One bad message costs itself alone, and a person can see why."""
    put(bench.topics, change_json("cup-2"), key="cup-2")
    bad = put(bench.topics, b'{"op": \xff', headers=(("trace", b"abc"),))
    put(bench.topics, change_json("mug-1", version=3))

    totals = bench.run()

    assert (1, 3) == (bench.version_of("cup-2"), bench.version_of("mug-1"))
    assert {"new": 2, "poison": 1} == totals.by_class
    (dead,) = bench.topics.messages(DEAD)
    assert (bad.key, bad.value) == (dead.key, dead.value)
    why = told(dead)
    assert ("abc", "decode", TOPIC, str(bad.partition), str(bad.offset)) == (
        why["trace"],
        why["dead.stage"],
        why["dead.topic"],
        why["dead.partition"],
        why["dead.offset"],
    )
    assert "not JSON in UTF-8" in why["dead.reason"]


def test_what_cannot_be_embedded_is_set_aside_and_the_version_before_it_counts(bench: Bench) -> None:
    """A broken picture in version 2 must not swallow version 1 of the same batch."""
    put(bench.topics, change_json(version=1))
    bad = put(bench.topics, change_json(version=2, title="", description=""))

    totals = bench.run()

    assert 1 == bench.version_of("mug-1")
    assert {"new": 1, "failed": 1} == totals.by_class
    (dead,) = bench.topics.messages(DEAD)
    assert (bad.value, "embed") == (dead.value, told(dead)["dead.stage"])


def test_one_change_that_spoils_the_whole_call_is_found_by_halving(bench: Bench) -> None:
    """Even a fault that the index does not pin on a product costs that product alone."""
    for number in range(9):
        put(bench.topics, change_json(f"p-{number}"), key=f"p-{number}")

    def spoiled(changes: Sequence[ProductChange]) -> Receipt:
        if any(change.product_id == "p-4" for change in changes):
            raise InvalidProduct("a field the store cannot keep")
        return bench.apply(changes)  # type: ignore[no-any-return]

    totals = bench.run(apply=spoiled)

    assert {"new": 8, "failed": 1} == totals.by_class
    assert [b"p-4"] == [message.key for message in bench.topics.messages(DEAD)]


def test_an_encoder_of_another_space_stops_the_worker_and_acknowledges_nothing(bench: Bench) -> None:
    """Mixing two models' vectors is worse than being late."""
    put(bench.topics, change_json())

    def mismatch(_changes: Sequence[ProductChange]) -> Receipt:
        raise ModelMismatch("the collection is of model b")

    with pytest.raises(ModelMismatch):
        bench.run(apply=mismatch)

    assert [] == bench.changes.commits


def test_an_older_change_that_comes_late_never_wins(bench: Bench) -> None:
    """In the same batch or a later one, the index does not go back in time."""
    put(bench.topics, change_json(version=2))
    put(bench.topics, change_json(version=1))
    bench.run()
    put(bench.topics, change_json(version=1))

    totals = bench.run()

    assert 2 == bench.version_of("mug-1")
    assert {"stale": 1} == totals.by_class


@pytest.mark.parametrize("removal", ["versioned", "null"])
def test_a_deleted_product_is_not_brought_back_by_what_was_before(bench: Bench, removal: str) -> None:
    """The fence stands, also after everything is delivered again."""
    put(bench.topics, change_json(version=1, occurred_at="2026-11-20T11:00:00Z"))
    put(bench.topics, change_json(version=2, occurred_at="2026-11-20T11:30:00Z"))
    put(bench.topics, None if removal == "null" else change_json(op="delete", version=3))
    bench.run(pace=Pace(batch_size=1))
    bench.topics.committed.clear()
    bench.restart()

    bench.run()

    assert 0 == bench.store.count()
    put(bench.topics, change_json(version=4, occurred_at="2026-11-20T13:00:00Z"))
    bench.run()
    assert 1 == bench.store.count()


def test_a_log_that_does_not_take_a_dead_letter_keeps_the_batch_unacknowledged(bench: Bench) -> None:
    """What is set aside must be safe before its original is passed."""
    put(bench.topics, b"poison")

    class Away(InMemoryTopics):
        tries = 0

        def send(self, messages: Sequence[Outgoing]) -> None:
            self.tries += 1
            assert [] == bench.changes.commits
            if self.tries < 3:
                raise LogUnavailable("no broker")
            super().send(messages)

    sink = Away()
    bench.run(sink=sink)

    assert (3, 1) == (sink.tries, len(sink.messages(DEAD)))
    assert 1 == len(bench.changes.commits)


def test_freshness_is_told_per_kind_of_change(bench: Bench) -> None:
    """A blended figure would hide the slow kinds."""
    put(bench.topics, change_json(version=1))
    bench.run()
    for kind in ({"title": "blue"}, {"title": "blue", "price": 8.0}, {"op": "delete"}):
        version = len(bench.arrivals) + 1
        put(bench.topics, change_json(version=version, **kind))
        bench.run()

    assert ["new", "text", "scalar", "delete"] == [arrival.outcome for arrival in bench.arrivals]
    assert [59_000, 58_000, 57_000, 56_000] == [arrival.freshness_ms for arrival in bench.arrivals]


def test_batches_close_by_size_and_partitions_are_acknowledged_apart(bench: Bench) -> None:
    """No batch is larger than it may be, and every message is in one."""
    for number in range(25):
        put(bench.topics, change_json(f"p-{number}"), key=f"p-{number}")
    sizes: list[int] = []

    def counting(changes: Sequence[ProductChange]) -> Receipt:
        sizes.append(len(changes))
        return bench.apply(changes)  # type: ignore[no-any-return]

    totals = bench.run(apply=counting, pace=Pace(batch_size=8, backlog_batch_size=8, batch_wait_s=0.0))

    assert 25 == sum(sizes) == totals.messages
    assert max(sizes) <= 8
    for index in range(bench.topics.partitions):
        partition = Partition(TOPIC, index)
        assert len(bench.topics.held(partition)) == bench.topics.committed["group", partition]


def test_a_backlog_of_quick_work_goes_in_larger_batches_up_to_a_bound(bench: Bench) -> None:
    """A request costs less per row then; slow work is acknowledged in small batches as before."""
    for number in range(200):
        put(bench.topics, change_json(f"p-{number}"), key=f"p-{number}")
    sizes: list[int] = []

    def slow_once(changes: Sequence[ProductChange]) -> Receipt:
        sizes.append(len(changes))
        bench.steady_s += 2.0 if len(sizes) == 4 else 0.0
        return bench.apply(changes)  # type: ignore[no-any-return]

    bench.run(apply=slow_once, pace=Pace(batch_size=8, backlog_batch_size=50, batch_wait_s=0.0))

    assert [8, 16, 32, 50, 25, 50] == sizes[:6]
    assert 200 == bench.store.count()


def test_occurred_at_of_poison_is_when_it_was_written(bench: Bench) -> None:
    """Poison has no time of its own, but its arrival counts, too."""
    put(bench.topics, b"poison")

    bench.run()

    assert [("poison", int(NOON.timestamp() * 1000))] == [
        (arrival.outcome, arrival.occurred_at_ms) for arrival in bench.arrivals
    ]
