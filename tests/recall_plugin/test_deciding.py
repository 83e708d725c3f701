"""Who is served what beyond the ordinary: testers, targets, a host's own vendor, a kill switch."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from experiments.assignment import Decision, assign
from experiments.exposure import InMemoryEventLog
from experiments.overrides import Override, sign_override
from experiments.targeting import Target
from tests.recall_plugin.doubles import (
    NOW,
    PATIENCE_S,
    TREATED,
    UNTREATED,
    ask,
    experiment,
    finds,
    plugin,
    wait_for,
)

BASE = [f"b{place:02}" for place in range(1, 31)]
SIGNED_WITH = "a secret of the shop's own"


def token(variant: str = "treatment", *, by: str = SIGNED_WITH) -> str:
    made = Override(experiment="uniecs-recall", variant=variant, until=NOW + timedelta(hours=1))
    return sign_override(made, by, now=NOW)


@pytest.mark.parametrize(("unit", "variant"), [(UNTREATED, "treatment"), (TREATED, "control")])
def test_a_tester_sees_the_variant_of_choice_and_is_never_logged(how: str, unit: str, variant: str) -> None:
    """Forced traffic is no evidence."""
    log = InMemoryEventLog()
    settings = {"override_secret": SIGNED_WITH, "log_assigned": True, "counterfactual_share": 1.0}
    with plugin(finds("new"), log=log, settings=settings) as recall:
        result = ask(recall, BASE, how=how, unit_id=unit, override=token(variant))

    assert (variant, "override") == (result.variant, result.reason)
    assert (variant == "treatment") is ("new" in result.product_ids)
    assert ([], []) == (log.exposures, log.marks)


@pytest.mark.parametrize(
    ("secret", "bad"),
    [
        ("", token()),
        (SIGNED_WITH, "treatment"),
        (SIGNED_WITH, token(by="somebody else's secret")),
        (SIGNED_WITH, token("blue")),
        (SIGNED_WITH, ""),
        (SIGNED_WITH, 7),
    ],
)
def test_an_override_that_does_not_hold_changes_nothing(how: str, secret: str, bad: Any) -> None:
    """The unit is served and logged as always: nobody leaves an experiment by a header."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, settings={"override_secret": secret}) as recall:
        result = ask(recall, BASE, how=how, unit_id=UNTREATED, override=bad)
        counts = recall.counts()

    assert ("control", "assigned", BASE) == (result.variant, result.reason, result.product_ids)
    assert (1, 1) == (len(log.exposures), counts["override_refused"])


def test_the_kill_switch_also_stops_a_tester(how: str, tmp_path: Path) -> None:
    """It was thrown because something is wrong."""
    switches = tmp_path / "switches.toml"
    switches.write_text("[off]\nall = true\n")
    settings = {"override_secret": SIGNED_WITH, "switches": switches}
    with plugin(finds("new"), settings=settings) as recall:
        assert "off" == ask(recall, BASE, how=how, override=token()).reason


def test_who_is_no_target_gets_the_base_and_is_not_logged(how: str) -> None:
    """By what the host says of the request."""
    log = InMemoryEventLog()
    targeted = replace(experiment(), targeting=(Target(attribute="region", is_in=("cn",)),))
    with plugin(finds("new"), log=log, of=targeted) as recall:
        there = ask(recall, BASE, how=how, attributes={"region": "cn"})
        here = ask(recall, BASE, how=how, attributes={"region": "sg"})
        unknown = ask(recall, BASE, how=how)

    assert ["assigned", "not_targeted", "not_targeted"] == [one.reason for one in (there, here, unknown)]
    assert here.product_ids is unknown.product_ids is BASE
    assert 1 == len(log.exposures)


def vendor(variant: str, *, reason: Any = "assigned") -> Any:
    decision = assign(experiment(), TREATED, now=NOW)
    return lambda _unit, _attributes: Decision(decision.experiment, variant, reason, decision.plan)


def settled(recall: Any) -> Any:
    """A base that is ready once the vendor and the channel have answered."""

    def base() -> list[str]:
        wait_for(lambda: recall._decider._workers.busy == 0)
        return BASE

    return base


def test_a_hosts_own_vendor_decides(how: str) -> None:
    """Beside the base; then the plan runs as ever."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, vendor=vendor("treatment")) as recall:
        treated = ask(recall, settled(recall), how=how, unit_id=UNTREATED)
    with plugin(finds("new"), log=log, vendor=vendor("control", reason="vendor_default")) as recall:
        untreated = ask(recall, settled(recall), how=how)

    assert ("treatment", True) == (treated.variant, "new" in treated.product_ids)
    assert ("control", "vendor_default") == (untreated.variant, untreated.reason)
    assert ["treatment"] == [exposure.variant for exposure in log.exposures]


def test_a_vendor_that_is_slow_fails_or_knows_other_variants_leaves_the_base_alone(how: str) -> None:
    """Nobody waits for it, and nobody is logged by it."""
    log, let_go = InMemoryEventLog(), Event()

    def hangs(_unit: str, _attributes: Mapping[str, Any]) -> Decision:
        let_go.wait(PATIENCE_S)
        return vendor("treatment")(_unit, _attributes)  # type: ignore[no-any-return]

    def fails(_unit: str, _attributes: Mapping[str, Any]) -> Decision:
        raise OSError("no network")

    with plugin(finds("new"), log=log, vendor=hangs) as recall:
        results = [ask(recall, BASE, how=how) for _ in range(10)]
        assert ["vendor_late"] * 10 == [result.reason for result in results]
        assert all(result.product_ids is BASE for result in results)
        assert 2 == recall.counts()["vendor.shed"]
        let_go.set()
        wait_for(lambda: recall.counts().get("vendor.late") == 8)
    for decides in (fails, vendor("blue")):
        with plugin(finds("new"), log=log, vendor=decides) as recall:
            result = ask(recall, settled(recall), how=how)
            assert (True, "vendor_failed") == (result.product_ids is BASE, result.reason)

    assert [] == log.exposures


def test_a_base_that_fails_while_the_vendor_thinks_is_the_hosts_own(how: str) -> None:
    """What the vendor says afterwards asks no channel."""
    let_go, channel = Event(), finds("new")

    def slow(unit: str, attributes: Mapping[str, Any]) -> Decision:
        let_go.wait(PATIENCE_S)
        return vendor("treatment")(unit, attributes)  # type: ignore[no-any-return]

    def base() -> list[str]:
        raise LookupError("down")

    with plugin(channel, vendor=slow) as recall:
        with pytest.raises(LookupError):
            ask(recall, base, how=how)
        let_go.set()
        wait_for(lambda: recall.counts().get("vendor.late") == 1)

    assert [] == channel.requests


def test_an_override_is_taken_before_the_vendor_is_asked(how: str) -> None:
    """A tester need not wait for it."""
    with plugin(finds("new"), vendor=vendor("control"), settings={"override_secret": SIGNED_WITH}) as recall:
        result = ask(recall, BASE, how=how, override=token())

    assert ("treatment", "override", True) == (result.variant, result.reason, "new" in result.product_ids)


def test_that_a_unit_has_an_arm_is_marked_once_a_session_if_it_is_wanted(how: str) -> None:
    """Under one id, however many searches."""
    log = InMemoryEventLog()
    with plugin(finds("new"), log=log, settings={"log_assigned": True}) as recall:
        for query_id in ("q1", "q2"):
            ask(recall, BASE, how=how, query_id=query_id)
        ask(recall, BASE, how=how, session_id="visit-2")

    assert ["assigned"] * 3 == [mark.kind for mark in log.marks]
    assert 2 == len({mark.event_id for mark in log.marks})


def test_of_a_product_group_one_is_recalled(how: str) -> None:
    """By the host's own rule, or by what stands before a separator; the base's own stands for it."""
    found = finds("coat-1", "coat-2", "hat-9")
    for options in ({"group_of": lambda one: one.split("-")[0]}, {"settings": {"group_separator": "-"}}):
        with plugin(found, **options) as recall:  # type: ignore[arg-type]
            result = ask(recall, ["hat-1", "hat-2"], how=how)

        assert ["hat-1", "hat-2", "coat-1"] == list(result.product_ids)
        assert {"base": 1, "uniecs": 2} == result.items[0].ranks
