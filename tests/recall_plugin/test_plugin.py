"""What the plugin serves, and that the log says the same."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import InvalidExperiment
from experiments.events.event_json import exposure_to_json
from experiments.exposure import InMemoryEventLog, Outcome, event_id
from recall_plugin.errors import InvalidPlan
from recall_plugin.query import Query
from tests.recall_plugin.doubles import (
    MUG,
    NOW,
    PATIENCE_S,
    TREATED,
    UNTREATED,
    BrokenLog,
    Hangs,
    ask,
    experiment,
    finds,
    plugin,
    unit_in,
)

BASE = [f"b{place:02}" for place in range(1, 31)]


def test_treatment_adds_what_the_channel_found(how: str) -> None:
    """Behind the protected head, with provenance."""
    with plugin(finds("new", "b02")) as recall:
        result = ask(recall, BASE, how=how)

    assert ["b01", "b02", "b03", "b04", "new", "b05"] == list(result.product_ids[:6])
    assert {"uniecs": 1} == result.items[4].ranks
    assert {"base": 2, "uniecs": 2} == result.items[1].ranks
    assert ("treatment", "assigned", False) == (result.variant, result.reason, result.degraded)
    assert tuple(BASE[:20]) == result.counterfactual
    assert result.triggered


def test_control_gets_the_base_itself_and_the_channel_is_not_asked(how: str) -> None:
    """The very object, whatever is in it: doubled ids, any length."""
    channel = finds("new")
    base = [*BASE, "b01", *[f"more-{n}" for n in range(2000)]]
    with plugin(channel) as recall:
        result = ask(recall, base, how=how, unit_id=UNTREATED)

    assert result.product_ids is base
    assert [] == channel.requests
    assert ("control", None, ()) == (result.variant, result.triggered, result.counterfactual)
    assert {"base": 1} == result.items[0].ranks


@pytest.mark.parametrize("limit", [5, 30, 40])
def test_what_was_served_is_told_though_the_host_goes_on_with_its_lists(how: str, limit: int) -> None:
    """Whether the page is a part of the pool or all of it: the log and the provenance have their own."""
    base, log = BASE.copy(), InMemoryEventLog()
    with plugin(finds("new", "b02"), log=log) as recall:
        result = ask(recall, base, how=how, query=Query(text="mug", limit=limit))
        page = list(result.product_ids[:limit])
        result.product_ids.clear()
        base.reverse()

    (logged,) = log.exposures
    assert page == [product.product_id for product in logged.served]
    assert {"base": 2, "uniecs": 2} == logged.served[1].rank_per_channel
    assert tuple(BASE[:limit]) == result.counterfactual


def test_a_base_may_be_a_list_a_call_or_an_awaitable() -> None:
    """Beside a call or an awaitable, the channels look while it is computed."""

    async def computed() -> Sequence[str]:
        return BASE

    with plugin(finds("new")) as recall:
        answers = [
            ask(recall, BASE).product_ids,
            ask(recall, lambda: BASE).product_ids,
            ask(recall, BASE, how="arecall").product_ids,
            ask(recall, lambda: BASE, how="arecall").product_ids,
            ask(recall, computed, how="arecall").product_ids,
        ]

    assert [answers[0]] * 5 == answers


def test_the_channel_is_asked_before_the_base_is_computed(how: str) -> None:
    """Both run together: this base waits for the channel to be asked."""
    channel = Hangs("new")

    def base() -> list[str]:
        assert channel.asked.wait(PATIENCE_S)
        channel.let_go.set()
        return BASE

    with plugin(channel) as recall:
        assert "new" in ask(recall, base, how=how).product_ids


@pytest.mark.parametrize("variant", ["control", "treatment"])
def test_the_variant_in_the_log_is_the_variant_that_was_served(how: str, variant: str) -> None:
    """Promise 5: product by product, place by place."""
    log = InMemoryEventLog()
    with plugin(finds("new", "b02"), log=log) as recall:
        result = ask(recall, BASE, how=how, unit_id=unit_in(variant), query_id="q1")
    (logged,) = log.exposures

    assert variant == result.variant == logged.variant
    assert list(result.product_ids[:20]) == [served.product_id for served in logged.served]
    assert [item.ranks for item in result.items[:20]] == [served.rank_per_channel for served in logged.served]
    assert list(range(1, 21)) == [served.position for served in logged.served]
    assert (result.triggered, result.counterfactual) == (logged.triggered, logged.counterfactual)
    assert event_id("exposed", "uniecs-recall", "1", unit_in(variant), "visit-1", "q1") == logged.event_id
    assert b'"variant":"' + variant.encode() in exposure_to_json(logged)


def test_the_log_of_a_treated_search_names_index_model_and_query(how: str) -> None:
    """What the analyst will ask for."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log) as recall:
        ask(recall, BASE, how=how, query=Query(text=" mug ", image=b"jpeg"))
    (logged,) = log.exposures

    assert ("products_v1", "hash-1") == (logged.index_version, logged.model_id)
    assert ("mug", "both", NOW) == (logged.query, logged.query_kind, logged.occurred_at)
    assert not logged.degraded


def test_the_same_search_repeated_has_the_same_event_id() -> None:
    """A retry or a second worker is no second exposure."""
    log = InMemoryEventLog()
    for _ in range(2):
        with plugin(finds("new"), log=log) as recall:
            ask(recall, BASE, query_id="q1")

    assert 1 == len({exposure.event_id for exposure in log.exposures})


def test_a_search_that_found_nothing_new_is_not_triggered(how: str) -> None:
    """Triggered analysis rests on this."""
    log = InMemoryEventLog()
    with plugin(finds("b01", "b02"), log=log) as recall:
        result = ask(recall, BASE, how=how)

    assert BASE == list(result.product_ids)
    assert (False, False) == (result.triggered, log.exposures[0].triggered)


@pytest.mark.parametrize(
    ("unit", "now", "reason"),
    [
        (TREATED, datetime(2020, 1, 1, tzinfo=UTC), "not_started"),
        ("", NOW, "no_unit"),
        ("\ud83d", NOW, "no_unit"),
        (12345, NOW, "no_unit"),
        (TREATED, datetime(2026, 1, 15), "failed"),  # the host forgot the zone
    ],
)
def test_who_takes_no_part_gets_the_base_and_is_not_logged(
    how: str, unit: Any, now: datetime, reason: str
) -> None:
    """A shopper without an id searches like everybody else."""
    channel, log = finds("new"), InMemoryEventLog()
    with plugin(channel, log=log) as recall:
        result = ask(recall, BASE, how=how, unit_id=unit, now=now)

    assert result.product_ids is BASE
    assert ("control", reason) == (result.variant, result.reason)
    assert ([], []) == (log.exposures, channel.requests)


@pytest.mark.parametrize("text", ["all = true", 'experiments = ["uniecs-recall"]'])
def test_a_kill_switch_gives_everybody_the_base_within_a_second(how: str, tmp_path: Path, text: str) -> None:
    """Without a restart; what is off is not logged."""
    now_s, switches, log = [0.0], tmp_path / "switches.toml", InMemoryEventLog()
    settings = {"switches": switches}
    with plugin(finds("new"), log=log, settings=settings, clock=lambda: now_s[0]) as recall:
        before = ask(recall, BASE, how=how)
        switches.write_text(f"[off]\n{text}\n")
        now_s[0] += 1.0
        after = ask(recall, BASE, how=how)

    assert ("treatment", "control", "off") == (before.variant, after.variant, after.reason)
    assert after.product_ids is BASE
    assert 1 == len(log.exposures)


def test_a_channels_kill_switch_leaves_the_arms_as_they_are(how: str, tmp_path: Path) -> None:
    """Intent to treat: the arm was fixed before the channel's health was known."""
    switches, channel, log = tmp_path / "switches.toml", finds("new"), InMemoryEventLog()
    switches.write_text('[off]\nchannels = ["uniecs"]\n')
    with plugin(channel, log=log, settings={"switches": switches}) as recall:
        result = ask(recall, BASE, how=how)

    assert result.product_ids is BASE
    assert ("treatment", True, "off") == (result.variant, result.degraded, result.channels["uniecs"].status)
    assert [] == channel.requests
    assert log.exposures[0].degraded


def test_what_the_base_raises_is_the_hosts_own(how: str) -> None:
    """Neither swallowed nor logged as served."""
    log = InMemoryEventLog()

    def base() -> list[str]:
        raise LookupError("the shop's own search is down")

    with plugin(finds("new"), log=log) as recall, pytest.raises(LookupError, match="own search"):
        ask(recall, base, how=how)

    assert [] == log.exposures


def test_two_channels_are_joined_and_one_that_is_missing_degrades(how: str) -> None:
    """What arrived is served; the answer admits what is missing."""
    both = experiment(["style", "uniecs"], merge="snake", parameters={"protected_head": 1})
    with plugin(finds("s1", name="style"), finds("u1"), of=both) as recall:
        whole = ask(recall, ["b1", "b2"], how=how)
    with plugin(finds("u1"), of=both) as recall:
        part = ask(recall, ["b1", "b2"], how=how)

    assert ["b1", "b2", "s1", "u1"] == list(whole.product_ids)
    assert ["b1", "b2", "u1"] == list(part.product_ids)
    assert (False, True) == (whole.degraded, part.degraded)
    assert {"style": "off", "uniecs": "ok"} == {name: answer.status for name, answer in part.channels.items()}


def test_an_outcome_reaches_the_log_and_a_failing_log_nobody() -> None:
    """`happened` never raises either."""
    outcome = Outcome(event_id="o1", kind="click", unit_id=TREATED, occurred_at=NOW, product_id="mug")
    log = InMemoryEventLog()
    with plugin(log=log, of=experiment([])) as recall:
        recall.happened(outcome)
    with plugin(log=BrokenLog(), of=experiment([])) as recall:
        recall.happened(outcome)
        counts = recall.counts()

    assert [outcome] == log.outcomes
    assert 1 == counts["lost.outcome"]


def test_a_query_without_a_name_gets_one() -> None:
    """Its outcomes can be told by it."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, new_id=lambda: "made-1") as recall:
        result = ask(recall, BASE)

    assert "made-1" == result.query_id == log.exposures[0].query_id


def test_a_plan_that_cannot_run_is_refused_at_the_start() -> None:
    """Not when a shopper waits."""
    with pytest.raises(InvalidPlan), plugin(of=experiment(merge="shuffle")):
        pass
    with pytest.raises(InvalidExperiment):
        replace(experiment(), traffic=2.0)


def test_a_short_page_is_logged_as_long_as_it_is() -> None:
    """The base has two, the channel three: five are served."""
    log = InMemoryEventLog()
    with plugin(finds("n1", "n2", "n3"), log=log) as recall:
        result = ask(recall, ["b1", "b2"], query=replace(MUG, limit=20))

    assert ["b1", "b2", "n1", "n2", "n3"] == list(result.product_ids)
    assert 5 == len(log.exposures[0].served)


def test_a_request_may_bring_its_own_grace(how: str) -> None:
    """A caller over HTTP has its base already: its patience is all the time that channels have."""
    with plugin(finds("new"), grace_ms=0) as made:
        result = ask(made, ["a", "b"], how=how, grace_ms=10_000)

    assert "new" in result.product_ids
