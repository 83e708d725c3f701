"""Promise 8: with the channel slow, hung, broken or absent, the funnel answers exactly as without it."""

import asyncio
import threading
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

from experiments.exposure import InMemoryEventLog
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.vector_store import CollectionSpec, Filter
from recall_plugin.breaker import Breaker, BreakerRule
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.panel import Panel
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from tests.recall_plugin.doubles import (
    MUG,
    NOW,
    PATIENCE_S,
    TREATED,
    BrokenLog,
    Hangs,
    Says,
    ask,
    finds,
    hit,
    hits,
    plugin,
    wait_for,
)

BASE = [f"b{place:02}" for place in range(1, 31)]


def raising(error: BaseException) -> Says:
    def raises(_: ChannelRequest) -> None:
        raise error

    return Says(raises)


def uniecs(*, collection_model: str | None) -> UniecsChannel:
    """A real channel whose collection is another model's, or missing."""
    database = InMemoryVectorDatabase()
    if collection_model is not None:
        spec = CollectionSpec(dimension=8, model_id=collection_model, preprocess_version="words-1")
        database.create("products_v1", spec)
        database.switch("products", "products_v1")
    return UniecsChannel(HashEncoder(8), lambda: database, alias="products")


# Each gives nothing to merge: the answer must be the base, the same object.
SILENT: dict[str, Callable[[], Any]] = {
    "raises": lambda: raising(RuntimeError("boom")),
    "exits": lambda: raising(SystemExit(1)),
    "runs out of memory": lambda: raising(MemoryError()),
    "hangs": lambda: Hangs("new"),
    "answers nothing": finds,
    "answers with None": lambda: Says(lambda _: None),
    "answers with a list of ids": lambda: Says(lambda _: ["new"]),
    "answers with an unknown status": lambda: finds("new", status="fine"),
    "says error": lambda: finds("new", status="error"),
    "says timeout but has hits": lambda: finds("new", status="timeout"),
    "hits are no hits": lambda: finds(hits=("new", None, 7)),
    "hits are None": lambda: finds(hits=None),
    "scores are not finite": lambda: finds(hits=(hit("a", score=float("nan")), hit("b", score=float("inf")))),
    "scores are text": lambda: finds(hits=(hit("a", score="high"),)),
    "ids are garbage": lambda: finds(hits=(hit(""), hit("x" * 300), hit("a\x00b"), hit(7), hit(None))),
    "another model's index": lambda: uniecs(collection_model="hash-2"),
    "no index": lambda: uniecs(collection_model=None),
}


@pytest.mark.parametrize("fault", SILENT)
def test_a_channel_at_fault_leaves_the_base_exactly_as_it_is(how: str, fault: str) -> None:
    """And the arm as it was: the log says treatment, served the base."""
    log = InMemoryEventLog()
    grace_ms = 1 if fault == "hangs" else 10_000
    with plugin(SILENT[fault](), log=log, grace_ms=grace_ms) as recall:
        result = ask(recall, BASE, how=how)

    assert result.product_ids is BASE
    assert ("treatment", False) == (result.variant, result.triggered)
    assert [("treatment", tuple(BASE[:20]))] == [
        (exposure.variant, tuple(served.product_id for served in exposure.served))
        for exposure in log.exposures
    ]
    assert result.degraded is log.exposures[0].degraded is (not result.channels["uniecs"].answered)


def test_an_absent_channel_leaves_the_base_exactly_as_it_is(how: str) -> None:
    """Its package could not be loaded."""
    with plugin() as recall:
        result = ask(recall, BASE, how=how)

    assert result.product_ids is BASE
    assert ("off", True) == (result.channels["uniecs"].status, result.degraded)


LOUD: dict[str, Callable[[], Any]] = {
    "duplicates": lambda: finds(*["new"] * 50),
    "ten times too many": lambda: finds(*[f"n{n}" for n in range(200)]),
    "endless": lambda: finds(hits=(hit("new") for _ in iter(int, 1))),
    "one sound among garbage": lambda: finds(
        hits=(None, hit("n", score=float("nan")), hit("new"), hit(""), 7)
    ),
    "what the filter forbids": lambda: finds(hits=(hit("sold-out", in_stock=False), hit("new"))),
    "fields of the wrong kind": lambda: finds(hits=(hit("odd", price="9", in_stock=True), hit("new"))),
}


@pytest.mark.parametrize("fault", LOUD)
def test_of_a_channels_garbage_only_what_is_sound_is_added(how: str, fault: str) -> None:
    """The head stays, the base keeps its order, the quota holds, the rest is counted."""
    query = Query(
        text="mug",
        filters=Filter(in_stock=True, price_max=None if fault != "fields of the wrong kind" else 10),
    )
    sound = LOUD[fault]()
    if fault == "fields of the wrong kind":
        sound = finds(hits=(hit("odd", price="9"), hit("new", price=9.0)))
    with plugin(sound) as recall:
        result = ask(recall, BASE, how=how, query=query)
        counts = recall.counts()
    page = list(result.product_ids[:20])
    added = [product_id for product_id in page if product_id not in BASE]

    assert BASE[:4] == page[:4]
    assert BASE[: 20 - len(added)] == [product_id for product_id in page if product_id in BASE]
    assert added == ([f"n{n}" for n in range(8)] if fault == "ten times too many" else ["new"])
    assert any(name.startswith("uniecs.dropped_") for name in counts)


@pytest.mark.parametrize("unit", [TREATED, ""])
def test_a_failing_log_never_changes_the_answer(how: str, unit: str) -> None:
    """Counted, never raised."""
    with plugin(finds("new"), log=BrokenLog()) as recall:
        result = ask(recall, BASE, how=how, unit_id=unit)
        counts = recall.counts()

    assert ("new" in result.product_ids) is bool(unit)
    assert bool(unit) == counts.get("lost.exposure", 0)


def test_a_hung_channel_keeps_its_few_threads_and_the_rest_is_shed(how: str) -> None:
    """The base is unharmed, and the process does not fill up with threads."""
    channel = Hangs("new")
    never = BreakerRule(min_outcomes=10_000)
    before = set(threading.enumerate())  # those of other tests may be ending yet
    with plugin(channel, grace_ms=0, settings={"in_flight": 3}, breaker=lambda: Breaker(never)) as recall:
        results = [ask(recall, BASE, how=how) for _ in range(20)]
        begun = {one for one in threading.enumerate() if one.name.startswith("recall-uniecs-")} - before

        assert ["timeout"] * 3 + ["shed"] * 17 == [result.channels["uniecs"].status for result in results]
        assert all(result.product_ids is BASE for result in results)
        assert 3 == len(begun)
        channel.let_go.set()
        wait_for(lambda: recall.counts().get("uniecs.late") == 3)


def test_a_channel_that_keeps_failing_is_left_alone_and_asked_again_later(how: str) -> None:
    """The breaker opens on misses, a probe closes it: no restart."""
    now_s, channel = [0.0], raising(RuntimeError("boom"))
    rule = BreakerRule(min_outcomes=5, open_s=2, jitter=0)
    with plugin(channel, breaker=lambda: Breaker(rule), clock=lambda: now_s[0]) as recall:
        failing = [ask(recall, BASE, how=how).channels["uniecs"].status for _ in range(8)]
        channel.does = lambda _: ChannelAnswer(status="ok", hits=hits("new"))
        now_s[0] = 2.0
        healed = [ask(recall, BASE, how=how).channels["uniecs"].status for _ in range(2)]

    assert ["error"] * 5 + ["open"] * 3 == failing
    assert ["ok", "ok"] == healed
    assert 7 == len(channel.requests)


def test_a_cancelled_request_gives_its_probe_back() -> None:
    """A shopper leaves while the probe is out: the next request probes."""
    now_s, channel = [0.0], raising(RuntimeError("boom"))
    rule = BreakerRule(min_outcomes=1, open_s=2, jitter=0, probe_lease_s=1e6)

    async def story() -> str:
        options: dict[str, Any] = {"unit_id": TREATED, "session_id": "s", "now": NOW}
        await recall.arecall(MUG, BASE, **options)  # opens it
        now_s[0] = 2.0
        channel.does = lambda _: ChannelAnswer(status="ok", hits=hits("new"))
        shopper = asyncio.create_task(recall.arecall(MUG, asyncio.Event().wait(), **options))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        shopper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shopper
        result = await recall.arecall(MUG, BASE, **options)
        return result.channels["uniecs"].status

    with plugin(channel, breaker=lambda: Breaker(rule), clock=lambda: now_s[0]) as recall:
        assert "ok" == asyncio.run(story())


def test_a_probe_that_was_shed_is_given_back() -> None:
    """The channel's threads are still hung: nothing was learned, so the next request may probe."""
    now_s, channel = [0.0], Hangs("new")
    rule = BreakerRule(min_outcomes=1, open_s=2, jitter=0, probe_lease_s=1e6)
    request = ChannelRequest(query=MUG, limit=20, deadline_s=0, request_id="q", unit_id="u")
    panel = Panel([channel], in_flight=1, breaker=lambda: Breaker(rule), clock=lambda: now_s[0])

    def turn(grace_s: float) -> str:
        asked = panel.ask(["uniecs"], request)
        answers = asked.round.join(grace_s=grace_s)
        panel.settle(asked, answers)
        return answers["uniecs"].status

    hung, left_alone = turn(0), turn(0)
    now_s[0] = 2.0
    shed = turn(0)
    channel.let_go.set()
    wait_for(lambda: panel.seats["uniecs"].workers.busy == 0)
    healed = turn(PATIENCE_S)
    panel.close()

    assert ["timeout", "open", "shed", "ok"] == [hung, left_alone, shed, healed]


def test_a_fault_in_here_leaves_the_base_too(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the channel's: also ours."""
    log = InMemoryEventLog()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with plugin(finds("new"), log=log) as recall:
        monkeypatch.setattr("recall_plugin.plugin.blend", broken)
        merging = ask(recall, BASE, how=how)
        monkeypatch.setattr(recall._panel, "ask", broken)
        asking = ask(recall, BASE, how=how)

    for result in (merging, asking):
        assert result.product_ids is BASE
        assert ("treatment", "assigned", True) == (result.variant, result.reason, result.degraded)
    assert [True, True] == [exposure.degraded for exposure in log.exposures]


def test_many_shoppers_at_once_get_each_their_own_answer() -> None:
    """Threads share the plugin, not the answers."""
    echo = Says(lambda request: ChannelAnswer(status="ok", hits=hits(f"for-{request.query.text}")))
    wrong: list[str] = []
    start = Event()
    with plugin(echo, settings={"in_flight": 64}) as recall:

        def shopper(name: str) -> None:
            start.wait()
            for _ in range(20):
                result = ask(recall, BASE, query=Query(text=name))
                added = [item.product_id for item in result.items if "base" not in item.ranks]
                wrong.extend(product_id for product_id in added if product_id != f"for-{name}")
                if not added and result.channels["uniecs"].status != "shed":
                    wrong.append(f"{name}: nothing")

        threads = [Thread(target=shopper, args=(f"s{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        start.set()
        for thread in threads:
            thread.join()

    assert [] == wrong


def test_after_close_the_base_is_still_served(how: str) -> None:
    """A request that comes during shutdown is answered."""
    with plugin(finds("new")) as recall:
        recall.close()
        result = ask(recall, BASE, how=how)

    assert result.product_ids is BASE
    assert "shed" == result.channels["uniecs"].status


def test_a_channel_that_fails_at_closing_keeps_nobody_from_it() -> None:
    """The log is closed all the same."""
    channel, log = finds("new"), InMemoryEventLog()
    closed = Event()
    channel.close = lambda: 1 / 0  # type: ignore[method-assign,assignment]
    log.close = lambda **_: closed.set()  # type: ignore[method-assign]
    with plugin(channel, log=log):
        pass

    assert closed.is_set()


def test_a_base_that_is_no_list_is_returned_as_it_came(how: str) -> None:
    """Whatever the host makes of it without us, it makes of it with us."""
    with plugin(finds("new")) as recall:
        for odd in (None, iter(BASE)):
            result = ask(recall, odd, how=how)

            assert result.product_ids is odd
