"""What explains a result: planted things are found, and nothing is found where nothing is."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.definition import Experiment
from experiments.explaining.attribution import channel_parts
from experiments.explaining.baskets import revenue_parts
from experiments.explaining.bayes import PRIOR_SD, posterior
from experiments.explaining.clusters import by_cluster, differ, shrink
from experiments.explaining.delta import joint_reach, propagate
from experiments.explaining.novelty import by_age
from experiments.explaining.outlook import outlook
from experiments.explaining.triggers import trigger_analysis
from experiments.inference import Comparison, compare

from .units import aggregates, moments, of_ages, of_channels, of_clusters, triggered

CTR = 0  # the packaged experiment's first metric


def dilute(experiment: Experiment, control: Any, treatment: Any, **others: Any) -> dict[str, Any]:
    plain = replace(
        experiment, metrics=tuple(it for it in experiment.metrics if it.name in ("ctr", "clicks_per_shopper"))
    )
    return trigger_analysis(plain, aggregates(control, treatment, **others), "treatment", alpha=0.05)


def test_the_delta_method_agrees_with_the_ratios_own_formula(experiment: Experiment) -> None:
    """Two ways to one variance."""
    rng = np.random.default_rng(1)
    one = triggered(rng, 5_000, rate=0.2)["whole"]
    values, covariance = propagate(lambda of: np.array([of[1] / of[0]]), one)
    found = compare(experiment.metrics[CTR], one, one, names=("control", "treatment"))

    assert found.control_value == pytest.approx(values[0])
    assert found.difference_high is not None
    assert found.difference_high == pytest.approx(1.959964 * sqrt(2 * covariance[0, 0]), rel=1e-4)


def test_the_joint_reach_of_independent_values_is_sidaks() -> None:
    """Five at once: 2.57 standard errors; five that are one: 1.96."""
    assert stats.norm.isf((1 - 0.95**0.2) / 2) == pytest.approx(joint_reach(np.eye(5), alpha=0.05), abs=0.03)
    assert 1.96 == pytest.approx(joint_reach(np.ones((5, 5)), alpha=0.05), abs=0.03)


def test_leaving_unchanged_pages_out_saves_as_much_variance_as_theory_says(experiment: Experiment) -> None:
    """With equal shoppers the variance falls to the share of searches that changed (Deng et al. 2021)."""
    rng = np.random.default_rng(2)
    sides = [triggered(rng, 60_000, rate=0.05, lift=lift, uneven=False) for lift in (0.0, 0.2)]
    row = dilute(experiment, *sides)["metrics"][CTR]

    assert 0.95 == pytest.approx(row["variance_saved"], abs=0.005)
    assert row["diluted"]["lift_low"] < 0.01 < row["diluted"]["lift_high"]
    assert row["changed"]["lift_low"] < 0.2 < row["changed"]["lift_high"]


def test_diluted_intervals_hold_the_truth(experiment: Experiment) -> None:
    """95 of 100, uneven shoppers, by search and by unit."""
    rng = np.random.default_rng(3)
    inside, widths = {"ctr": [], "clicks_per_shopper": []}, []
    for _ in range(300):
        found = dilute(experiment, *(triggered(rng, 1_500, rate=0.1, lift=lift) for lift in (0.0, 0.5)))
        for row in found["metrics"]:
            low, high = row["diluted"]["lift_low"], row["diluted"]["lift_high"]
            inside[row["metric"]].append(low <= 0.05 <= high)
            widths.append(row["variance_saved"])

    assert 0.92 <= np.mean(inside["ctr"]) <= 0.98
    assert 0.92 <= np.mean(inside["clicks_per_shopper"]) <= 0.98
    assert np.mean(widths) > 0.3


def test_an_effect_on_unchanged_pages_means_that_the_trigger_lies(experiment: Experiment) -> None:
    """Then nothing is diluted, and the plain comparison stands."""
    rng = np.random.default_rng(4)
    found = dilute(
        experiment, triggered(rng, 8_000, rate=0.1), triggered(rng, 8_000, rate=0.1, lift=0.3, leak=0.15)
    )

    assert not found["ok"]
    assert "unchanged pages differ in ctr" in found["reason"]


def test_variants_that_are_triggered_differently_are_not_diluted(experiment: Experiment) -> None:
    """The sample ratio of the triggered set: a trigger that only one side logs well."""
    rng = np.random.default_rng(5)
    found = dilute(experiment, triggered(rng, 4_000, rate=0.02), triggered(rng, 4_000, rate=0.03))

    assert not found["sample_ratio"]["ok"]
    assert "not split as planned" in found["reason"]
    assert "no search in the logs" in dilute(experiment, {}, {}, trigger="none")["reason"]


def test_channels_add_up_to_the_lift_and_planted_values_come_back() -> None:
    """Base gave up 5% of its clicks, the new channel earned 20%: +15% in all."""
    rng = np.random.default_rng(6)
    control = of_channels(rng, 40_000, {"base": 0.10, "uniecs": 0.0}, unattributed=0.01)
    treatment = of_channels(rng, 40_000, {"base": 0.095, "uniecs": 0.02}, unattributed=0.01)
    found = channel_parts(aggregates(control, treatment), "control", "treatment", alpha=0.05)["clicks"]
    parts = {it["channel"]: it for it in found["parts"]}
    plain = [of["parts"].mean("clicks") / of["parts"].mean("searches") for of in (control, treatment)]

    assert plain[1] / plain[0] - 1 == pytest.approx(sum(it["part"] for it in parts.values()), abs=1e-12)
    assert 0.02 / 0.11 == pytest.approx(parts["uniecs"]["part"], rel=0.05)
    assert parts["base"]["low"] < -0.005 / 0.11 < parts["base"]["high"]
    assert parts["elsewhere"]["low"] < 0 < parts["elsewhere"]["high"]


def buyers(rng: np.random.Generator, units: int, *, often: float, spent: float) -> Any:
    """Orders by lot, and what each costs: skewed, as baskets are."""
    orders = rng.poisson(often * rng.gamma(2.0, 0.5, units))
    prices = np.array([rng.lognormal(0.0, 0.8, count).sum() for count in orders]) * spent
    return {"whole": moments({"orders": orders, "revenue": prices})}


def test_more_orders_and_smaller_ones_are_told_apart() -> None:
    """A planted +25% in orders and -20% in what each costs: revenue stands still, and its parts do not."""
    rng = np.random.default_rng(11)
    inside = {"orders": 0, "per_order": 0, "revenue": 0}
    truth = {"orders": 0.25, "per_order": -0.2, "revenue": 0.0}
    runs = 60
    for _ in range(runs):
        both = (buyers(rng, 3_000, often=0.4, spent=10), buyers(rng, 3_000, often=0.5, spent=8))
        found = revenue_parts(aggregates(*both), "control", "treatment", alpha=0.05)
        product = (1 + found["orders"]["lift"]) * (1 + found["per_order"]["lift"])
        assert product - 1 == pytest.approx(found["revenue"]["lift"], abs=1e-12)
        for name, planted in truth.items():
            inside[name] += found[name]["lift_low"] <= planted <= found[name]["lift_high"]

    assert found["orders"]["lift_low"] > 0 > found["per_order"]["lift_high"]
    assert min(inside.values()) >= 0.93 * runs


def test_without_orders_there_is_nothing_to_tell_apart() -> None:
    """A reason, and no number."""
    rng = np.random.default_rng(12)
    both = [buyers(rng, 50, often=0.01, spent=10) for _ in range(2)]

    assert "too few orders" in revenue_parts(aggregates(*both), "control", "treatment", alpha=0.05)["reason"]
    several = aggregates(*both, currencies=("EUR", "USD"))
    assert "several currencies" in revenue_parts(several, "control", "treatment", alpha=0.05)["reason"]


def test_an_effect_that_fades_is_seen_to_fade_and_one_that_stays_is_not() -> None:
    """A planted decay from 40% to 5%; and none."""
    rng = np.random.default_rng(7)
    ages = (0, 1, 2, 4, 7)
    flat = of_ages(rng, 30_000, dict.fromkeys(ages, 0.0))
    fading = of_ages(rng, 30_000, dict(zip(ages, (0.40, 0.30, 0.20, 0.10, 0.05), strict=True)))
    steady = of_ages(rng, 30_000, dict.fromkeys(ages, 0.2))
    fades = by_age(aggregates(flat, fading), "control", "treatment", alpha=0.05)
    stays = by_age(aggregates(flat, steady), "control", "treatment", alpha=0.05)

    assert fades["fades"]
    assert fades["slope_p"] < 0.001
    assert fades["steady"]["low"] < 0.05 < fades["steady"]["high"]
    assert not stays["fades"]
    assert 0.2 == pytest.approx(stays["steady"]["lift"], abs=0.04)
    assert all(it["low"] < 0.2 < it["high"] for it in stays["ages"])


def test_a_flat_effect_has_no_false_slope_more_often_than_alpha() -> None:
    """The same shoppers are at every age; their covariance is in the test."""
    rng = np.random.default_rng(8)
    ages = dict.fromkeys((0, 1, 2, 4, 7), 0.0)
    p_values = [
        by_age(
            aggregates(of_ages(rng, 800, ages), of_ages(rng, 800, ages)), "control", "treatment", alpha=0.05
        )["slope_p"]
        for _ in range(300)
    ]

    assert np.mean(np.array(p_values) < 0.05) <= 0.09
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_shrunk_clusters_are_closer_to_the_truth_than_measured_ones() -> None:
    """Twelve kinds of query, one truth: the smallest no longer lead the table."""
    rng = np.random.default_rng(9)
    lifts = {f"kind {n}": 0.05 for n in range(12)}
    raw, shrunk, false = [], [], 0
    for _ in range(40):
        found = by_cluster(
            aggregates(of_clusters(rng, 3_000, dict.fromkeys(lifts, 0.0)), of_clusters(rng, 3_000, lifts)),
            "control",
            "treatment",
            alpha=0.05,
        )
        raw += [(it["lift"] - 0.05) ** 2 for it in found["clusters"]]
        shrunk += [(it["shrunk"] - 0.05) ** 2 for it in found["clusters"]]
        null = by_cluster(
            aggregates(*(of_clusters(rng, 1_500, dict.fromkeys(lifts, 0.0)) for _ in range(2))),
            "control",
            "treatment",
            alpha=0.05,
        )
        false += any(it["p_adjusted"] < 0.05 for it in null["clusters"])

    assert np.mean(shrunk) < 0.4 * np.mean(raw)
    assert false <= 6  # of 40, where 2 are expected


def test_one_cluster_that_is_different_stays_different() -> None:
    """A planted effect in the tail alone is not shrunk away."""
    values, errors = np.array([0.0, 0.01, -0.01, 0.30]), np.array([0.02, 0.02, 0.02, 0.03])
    found = shrink(values, errors)

    assert differ(values, errors) < 1e-6
    assert 0.30 == pytest.approx(found["values"][3], abs=0.03)
    assert shrink(np.array([0.1]), np.array([0.05]))["values"] == [pytest.approx(0.1)]


def plain(lift: float, error: float) -> Comparison:
    return Comparison(
        metric="ctr",
        control="control",
        treatment="treatment",
        n_control=9,
        n_treatment=9,
        control_value=1.0,
        treatment_value=1 + lift,
        lift=lift,
        lift_standard_error=error * (1 + lift),
        method="log-ratio",
    )


def test_the_belief_is_the_normal_posterior() -> None:
    """By numbers on a grid: prior times likelihood."""
    found = posterior(plain(0.08, 0.05))
    grid = np.linspace(-1, 1, 200_001)
    weight = stats.norm.pdf(grid, 0, PRIOR_SD) * stats.norm.pdf(np.log(1.08), grid, 0.05)
    weight /= weight.sum()

    assert weight[grid > 0].sum() == pytest.approx(found["chance_higher"], abs=1e-4)
    assert np.expm1((weight * grid).sum()) == pytest.approx(found["believed"], abs=1e-6)
    assert (weight * np.maximum(-grid, 0)).sum() == pytest.approx(found["loss_if_higher_is_wrong"], abs=1e-6)


def test_the_power_that_is_left_is_what_a_simulation_finds() -> None:
    """Half-way, z = 1.5: how often the last bar is crossed if what is seen is the truth."""
    found = outlook(
        plain(0.03, np.log(1.03) / 1.5), time_gone=0.5, times=[0.5, 1.0], planned_weeks=4, alpha=0.05
    )
    rng = np.random.default_rng(10)
    last = 1.5 * sqrt(0.5) + rng.normal(1.5 / sqrt(0.5) * 0.5, sqrt(0.5), 200_000)

    assert np.mean(last > 1.969) == pytest.approx(found["power_at_end"], abs=0.01)
    weeks = {it["lift"]: it["weeks"] for it in found["weeks_for"]}
    assert weeks[0.01] > weeks[0.02] > weeks[0.05]


def test_moments_by_numpy_are_those_of_rows() -> None:
    """The simulator itself."""
    assert 2.0 == moments({"a": np.array([1, 3]), "b": np.array([0, 4])}).covariance("a", "a")
