"""What the other arm would have seen: both arms alike, after the answer, and never in the way."""

from threading import Event
from typing import Any

import pytest

from experiments.exposure import InMemoryEventLog
from recall_plugin.query import ChannelAnswer
from recall_plugin.turn import first_difference
from tests.recall_plugin.doubles import (
    PATIENCE_S,
    TREATED,
    UNTREATED,
    Hangs,
    Says,
    ask,
    finds,
    hits,
    plugin,
    unit_in,
    wait_for,
)

BASE = [f"b{place:02}" for place in range(1, 31)]
ALL = {"counterfactual_share": 1.0}


def test_control_learns_what_treatment_would_have_served(how: str) -> None:
    """The same exposure, told once more under its id; the page that was served stays the base's."""
    log, channel = InMemoryEventLog(), finds("new", "b02")
    with plugin(channel, log=log, settings=ALL) as recall:
        result = ask(recall, BASE, how=how, unit_id=UNTREATED, query_id="q1")
        assert (True, None) == (result.product_ids is BASE, result.triggered)
        wait_for(lambda: len(log.marks) == 1)
        treated = ask(recall, BASE, how=how, unit_id=TREATED, query_id="q1")
    first, again, _ = log.exposures

    assert (None, ()) == (first.triggered, first.counterfactual)
    assert first.event_id == again.event_id
    assert (True, 5, True) == (again.triggered, again.depth_of_first_change, again.would_change_pool)
    assert tuple(treated.product_ids[:20]) == again.counterfactual
    assert [one.product_id for one in first.served] == [one.product_id for one in again.served] == BASE[:20]
    assert ("products_v1", "hash-1") == (again.index_version, again.model_id)
    assert 1 == len(channel.requests[:1])


def test_both_arms_are_marked_alike(how: str) -> None:
    """A triggered search is one in either arm, at the same depth."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, settings=ALL) as recall:
        ask(recall, BASE, how=how, unit_id=UNTREATED, query_id="q1")
        ask(recall, BASE, how=how, unit_id=TREATED, query_id="q2")
        wait_for(lambda: len(log.marks) == 2)
    told = {
        mark.variant: (mark.kind, mark.would_change_page, mark.depth_of_first_change) for mark in log.marks
    }

    assert {"control": ("triggered", True, 5), "treatment": ("triggered", True, 5)} == told
    assert 2 == len({mark.event_id for mark in log.marks})
    sampled = [one.variant for one in log.exposures if one.would_change_pool is not None]
    assert ["control", "treatment"] == sorted(sampled)


def test_a_search_where_the_arms_agree_is_not_triggered(how: str) -> None:
    """Known, and no mark."""
    log = InMemoryEventLog()
    with plugin(finds("b01", "b02"), log=log, settings=ALL) as recall:
        ask(recall, BASE, how=how, unit_id=UNTREATED)
        wait_for(lambda: len(log.exposures) == 2)
        ask(recall, BASE, how=how, unit_id=TREATED)

    assert [None, False, False] == [exposure.triggered for exposure in log.exposures]
    assert [] == log.marks


def test_the_sample_is_the_same_in_both_arms_and_as_large_as_it_is_told() -> None:
    """By a hash of the search's id, which knows nothing of arms."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, settings={"counterfactual_share": 0.2}) as recall:
        chosen = [number for number in range(2_000) if recall._counterfactual.samples(f"q{number}")]
        for number in range(200):
            ask(recall, BASE, unit_id=TREATED, query_id=f"q{number}")

    assert 340 < len(chosen) < 460
    assert len([number for number in chosen if number < 200]) == len(log.marks)


def test_by_default_control_asks_nobody(how: str) -> None:
    """The sample is a choice."""
    channel = finds("new")
    with plugin(channel) as recall:
        ask(recall, BASE, how=how, unit_id=UNTREATED)

    assert [] == channel.requests


def test_a_hung_channel_holds_two_threads_and_the_rest_is_left_out(how: str) -> None:
    """Under a limit of its own: the funnel and the treatment's threads do not feel it."""
    log, channel = InMemoryEventLog(), Hangs("new")
    with plugin(channel, log=log, settings=ALL) as recall:
        for number in range(10):
            result = ask(recall, BASE, how=how, unit_id=UNTREATED, query_id=f"q{number}")
            assert result.product_ids is BASE
        assert 8 == recall.counts()["counterfactual.skipped"]
        assert 0 == recall._panel.seats["uniecs"].workers.busy
        assert 10 == len(log.exposures)
        channel.let_go.set()
        wait_for(lambda: recall.counts().get("counterfactual.asked") == 2)


@pytest.mark.parametrize("fault", ["raises", "error", "garbage"])
def test_a_channel_at_fault_teaches_nothing_and_harms_nothing(how: str, fault: str) -> None:
    """The exposure was told already; its breaker is not touched."""

    def does(_: Any) -> Any:
        if fault == "raises":
            raise RuntimeError("boom")
        return ChannelAnswer(status="error") if fault == "error" else "garbage"

    log = InMemoryEventLog()
    with plugin(Says(does), log=log, settings=ALL) as recall:
        ask(recall, BASE, how=how, unit_id=UNTREATED)
        wait_for(lambda: recall.counts().get("counterfactual.unanswered") == 1)

        assert "closed" == recall._panel.seats["uniecs"].breaker.state
    assert [None] == [exposure.triggered for exposure in log.exposures]


def test_a_switched_off_channel_is_not_asked(how: str, tmp_path: Any) -> None:
    """Off is off."""
    switches, channel = tmp_path / "s.toml", finds("new")
    switches.write_text('[off]\nchannels = ["uniecs"]\n')
    with plugin(channel, settings={**ALL, "switches": switches}) as recall:
        ask(recall, BASE, how=how, unit_id=UNTREATED)
        wait_for(lambda: recall.counts().get("counterfactual.skipped") == 1)

    assert [] == channel.requests


def test_the_answer_does_not_wait_for_it(how: str) -> None:
    """The channel is asked when the host has its page."""
    asked, channel = Event(), Says(lambda _: ChannelAnswer(status="ok", hits=hits("new")))
    channel.find = lambda request: asked.set() or ChannelAnswer(status="ok")  # type: ignore[method-assign,func-returns-value]
    with plugin(channel, settings=ALL) as recall:
        recall._counterfactual._pause = lambda _: answered.wait(PATIENCE_S)  # type: ignore[assignment,return-value]
        answered = Event()
        ask(recall, BASE, how=how, unit_id=unit_in("control", number=3))

        assert not asked.is_set()
        answered.set()
        assert asked.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abc", "abc", None),
        ("abc", "abx", 3),
        ("abc", "ab", 3),
        ("", "a", 1),
        ("", "", None),
        ("abc", "xbc", 1),
    ],
)
def test_the_depth_is_the_first_place_that_differs(one: str, other: str, expected: int | None) -> None:
    """From 1; a page that ends earlier differs where it ends."""
    assert expected == first_difference(one, other)
