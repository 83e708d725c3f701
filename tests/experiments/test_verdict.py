"""Trust comes first: checks, and the one word that follows from them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from scipy import stats

from experiments.analysis import analyse
from experiments.definition import Experiment, Metric, Variant
from experiments.errors import InvalidData
from experiments.inference import Comparison
from experiments.report import render
from experiments.trust import Check, check_everything, sample_ratio
from experiments.verdict import Look, Verdict, guard, verdict
from experiments.warehouse import collect
from tests.experiments.logs import exposure, outcome, shop

CTR = Metric(
    name="ctr", title="Click-through rate", role="primary", numerator="clicks", denominator="searches"
)
SPEED = Metric(
    name="speed", title="Recall time", role="guardrail", numerator="latency_ms", good="down", margin=0.1
)
LAST = Look(number=4, planned=4, is_last=True, next_on="2026-02-02", bar={"ctr": 0.04})
EARLY = Look(number=1, planned=4, is_last=False, next_on="2026-01-19", bar={"ctr": 0.001})


def comparison(metric: str, lift: float, p: float, *, reach: float = 0.02) -> Comparison:
    return Comparison(
        metric=metric,
        control="control",
        treatment="treatment",
        n_control=1_000,
        n_treatment=1_000,
        control_value=1.0,
        treatment_value=1 + lift,
        difference=lift,
        difference_low=lift - reach,
        difference_high=lift + reach,
        lift=lift,
        lift_low=lift - reach,
        lift_high=lift + reach,
        statistic=1.0,
        p_value=p,
        p_adjusted=p if metric == "ctr" else None,
    )


def decide(ctr: Comparison, speed: Comparison, look: Look, *checks: Check) -> Verdict:
    return verdict(checks, [ctr, speed], [CTR, SPEED], look=look)


FINE = comparison("speed", 0.0, 0.5)
GAIN = comparison("ctr", 0.05, 0.0005)


@pytest.mark.parametrize(
    ("ctr", "speed", "look", "word"),
    [
        (GAIN, FINE, LAST, "ship"),
        (GAIN, FINE, EARLY, "ship"),
        (comparison("ctr", 0.05, 0.01), FINE, LAST, "ship"),
        (comparison("ctr", 0.05, 0.01), FINE, EARLY, "hold"),
        (comparison("ctr", 0.01, 0.4), FINE, LAST, "stop"),
        (comparison("ctr", 0.01, 0.4), FINE, EARLY, "hold"),
        (comparison("ctr", -0.05, 0.0005), FINE, EARLY, "stop"),
        (GAIN, comparison("speed", 0.09, 0.01), LAST, "hold"),
        (GAIN, comparison("speed", 0.2, 0.001), LAST, "stop"),
        (GAIN, comparison("speed", -0.5, 0.001), LAST, "ship"),
    ],
)
def test_the_word_follows_from_gain_guardrails_and_look(
    ctr: Comparison, speed: Comparison, look: Look, word: str
) -> None:
    """Ship a shown gain with safe guardrails; stop at harm or at the end; else hold."""
    assert word == decide(ctr, speed, look).word


@pytest.mark.parametrize(("title", "named"), [("Clicks per search", "clicks per search"), ("CTR", "CTR")])
def test_a_title_is_written_small_in_the_headline_but_initials_are_not(title: str, named: str) -> None:
    """As people write them in mid-sentence."""
    said = verdict([], [GAIN, FINE], [replace(CTR, title=title), SPEED], look=LAST)

    assert f"Ship: {named} improved." == said.headline


def test_no_winner_is_named_when_the_sample_ratio_is_off(experiment: Experiment, archive: Any) -> None:
    """Promise 7: with 60:40 instead of 50:50 even a huge gain is not read."""
    exposures, outcomes = shop(experiment, units=1_500, click_lift=0.6, seed=9, treated_share=0.6)
    result = analyse(experiment, collect(experiment, archive(exposures, outcomes)))

    assert result["comparisons"][0]["p_value"] < 1e-6
    assert not result["sample_ratio"]["ok"]
    assert "broken" == result["verdict"]["word"]
    assert "ship" not in str(result["verdict"]).lower()
    assert "Not as planned" in result["verdict"]["reasons"][0]


def test_a_planted_gain_is_found_and_shipped(experiment: Experiment, archive: Any) -> None:
    """The whole road: logs with a 25% lift in clicks per search, no change elsewhere."""
    exposures, outcomes = shop(experiment, units=2_500, click_lift=0.25, seed=10)
    result = analyse(experiment, collect(experiment, archive(exposures, outcomes)), truth={"ctr": 0.25})
    ctr = result["comparisons"][0]

    assert result["sample_ratio"]["ok"]
    assert ctr["lift_low"] < 0.25 < ctr["lift_high"]
    assert ctr["truth_inside"]
    assert "ship" == result["verdict"]["word"]
    assert "Ship: click-through rate improved." == result["verdict"]["headline"]


def test_before_the_last_look_the_bar_is_stricter(experiment: Experiment, archive: Any) -> None:
    """After one week of four p = 0.05 is not enough by far."""
    logs = archive(*shop(experiment, units=600, seed=11))
    bars = [
        analyse(experiment, collect(experiment, logs, until=experiment.start + timedelta(weeks=weeks)))[
            "window"
        ]["bar"]["ctr"]
        for weeks in (1, 2, 3, 4)
    ]

    assert sorted(bars) == bars
    assert bars[0] < 0.0001
    assert 0.03 < bars[-1] < 0.05


def test_the_sample_ratio_is_pearsons_chi_square() -> None:
    """SciPy is the oracle; Kohavi's 821,588 against 815,482 is off; an empty arm is very off."""
    even = {"control": 0.5, "treatment": 0.5}

    assert 1.8e-6 == pytest.approx(sample_ratio({"control": 821_588, "treatment": 815_482}, even), rel=0.05)
    assert stats.chisquare([90, 10], [80, 20]).pvalue == pytest.approx(
        sample_ratio({"control": 90, "treatment": 10}, {"control": 0.8, "treatment": 0.2})
    )
    assert sample_ratio({"control": 100}, even) < 1e-20
    assert 1.0 == sample_ratio({}, even)


def statuses(experiment: Experiment, logs: Any) -> dict[str, str]:
    return {check.name: check.status for check in check_everything(experiment, collect(experiment, logs))}


def test_each_fault_in_the_logs_is_found_by_its_check(experiment: Experiment, archive: Any) -> None:
    """Counted and shown, never silently dropped."""
    exposures = [
        exposure(experiment, f"u{n}", "control" if n % 2 else "treatment", hours=1, degraded=n % 2 == 0)
        for n in range(120)
    ]
    exposures += [
        exposure(experiment, "u0", "control", hours=2),
        exposure(experiment, "x", "purple", hours=2),
    ]
    exposures += [exposure(experiment, f"u{2 * n}", "treatment", hours=50) for n in range(10)]
    exposures += [
        exposure(experiment, f"u{1 + 2 * (n % 60)}", "control", hours=73 + n / 200) for n in range(120)
    ]
    outcomes = [
        outcome(experiment, "u1", "order", hours=2, revenue=1.0, currency=name, event_id=name)
        for name in ("EUR", "USD")
    ]
    outcomes += [outcome(experiment, f"s{n}", "click", hours=2) for n in range(5)]
    outcomes += [outcome(experiment, "u3", "click", hours=0.5)] + [
        outcome(experiment, "u5", "click", hours=3)
    ] * 40
    found = statuses(experiment, archive(exposures, outcomes))

    assert {
        "sample_ratio": "ok",
        "planned_variants": "fail",
        "crossed_units": "warn",
        "days": "fail",
        "outcomes_without_exposure": "warn",
        "clocks": "warn",
        "repeats": "warn",
        "degraded": "warn",
        "currencies": "warn",
        "few_units": "warn",
    } == found


def test_clean_logs_pass(experiment: Experiment, archive: Any) -> None:
    """The checks do not cry wolf on an ordinary month."""
    found = statuses(experiment, archive(*shop(experiment, units=2_400, seed=12)))

    assert {"ok"} == set(found.values())


def test_revenue_in_several_currencies_is_not_added_up(experiment: Experiment, archive: Any) -> None:
    """Ten euros and ten dollars are not twenty of anything; clicks are still compared."""
    exposures, outcomes = shop(experiment, units=300, seed=13)
    orders = [event for event in outcomes if event["kind"] == "order"]
    orders[0]["currency"] = "USD"
    result = analyse(experiment, collect(experiment, archive(exposures, outcomes)))
    found = {row["metric"]: row for row in result["comparisons"]}

    assert found["revenue_per_shopper"]["lift"] is None
    assert "several currencies (EUR, USD)" in found["revenue_per_shopper"]["reason"]
    assert found["ctr"]["lift"] is not None


def test_an_arm_without_units_gives_reasons_and_a_broken_verdict(
    experiment: Experiment, archive: Any
) -> None:
    """The page still comes out, and says why there is nothing on it."""
    logs = archive(
        [exposure(experiment, f"u{n}", "control", hours=1) for n in range(50)],
        [outcome(experiment, "u1", "click", hours=2)],
    )
    result = analyse(experiment, collect(experiment, logs))

    assert "broken" == result["verdict"]["word"]
    assert {"treatment has no units"} == {row["reason"] for row in result["comparisons"]}


def test_an_absolute_margin_is_held_against_the_difference() -> None:
    """Milliseconds are promised in milliseconds."""
    slow = replace(SPEED, margin=20.0, margin_kind="absolute")
    found = comparison("speed", 3.0, 0.001, reach=1.0)

    assert "safe" == guard(slow, found)
    assert "unclear" == guard(replace(slow, margin=3.5), found)
    assert "breached" == guard(replace(slow, margin=1.5), found)


def test_aggregates_of_a_changed_definition_are_refused(experiment: Experiment, archive: Any) -> None:
    """What was written down before the start is what counts; a ramp is no change."""
    logs = archive(
        [exposure(experiment, "ann", "control", hours=1)], [outcome(experiment, "ann", "click", hours=2)]
    )
    aggregates = collect(experiment, logs)

    assert analyse(replace(experiment, traffic=0.5), aggregates)
    with pytest.raises(InvalidData, match="scan the logs again"):
        analyse(replace(experiment, phase="2"), aggregates)
    with pytest.raises(InvalidData, match="the truth names a metric 'clicks'"):
        analyse(experiment, aggregates, truth={"clicks": 0.1})


def test_of_two_treatments_the_one_that_gained_is_named(experiment: Experiment, archive: Any) -> None:
    """Each is compared with control; the p-values of both are one family."""
    shares = {"control": 0.25, "idle": 0.25, "treatment": 0.5}
    plan = experiment.variant("treatment").plan
    variants = tuple(Variant(name=name, share=share, plan=plan) for name, share in shares.items())
    three = replace(experiment, variants=variants)
    exposures, outcomes = shop(three, units=3_000, click_lift=0.4, seed=18)
    for row in exposures:  # half of control becomes a third arm that changes nothing
        if row["variant"] == "control" and int(row["unit_id"].removeprefix("shopper-")) % 2:
            row["variant"] = "idle"
    result = analyse(three, collect(three, archive(exposures, outcomes)))
    ctr = {row["treatment"]: row for row in result["comparisons"] if row["metric"] == "ctr"}

    assert ("ship", "treatment") == (result["verdict"]["word"], result["verdict"]["treatment"])
    assert ctr["treatment"]["p_adjusted"] == pytest.approx(2 * ctr["treatment"]["p_value"])
    assert ctr["idle"]["p_adjusted"] == pytest.approx(
        max(ctr["idle"]["p_value"], ctr["treatment"]["p_adjusted"])
    )
    assert "treatment</th>" in render(result)
    assert "All this is of treatment against control." in render(result)
    assert "And idle: Stop: the planned time is over and no gain is shown." in render(result)
    assert {"treatment": "ship", "idle": "stop"} == {it["treatment"]: it["word"] for it in result["verdicts"]}
