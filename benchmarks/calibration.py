"""Are the error rates what they say? `python -m benchmarks.calibration`.

Draws shops with no effect, and with a planted one, and counts: how often an
A/A test alarms, whether its p-values are uniform, how often an interval holds
the truth, and how often four looks ship nothing as something. Prints a table.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy import stats

from experiments.definition import load_experiments
from experiments.experiment import Metric
from experiments.explaining.attribution import channel_parts
from experiments.explaining.clusters import by_cluster
from experiments.explaining.novelty import by_age
from experiments.explaining.triggers import trigger_analysis
from experiments.inference import Comparison, Estimate, blank, compare, compare_estimates
from experiments.metrics import Moments
from experiments.plan.power import Design, power_of
from experiments.sequential import bounds, nominal_alpha
from experiments.tables.adjustment import adjust_by_covariate
from tests.experiments.units import (
    aggregates,
    of_ages,
    of_channels,
    of_clusters,
    triggered,
)
from tests.experiments.units import moments as of_columns

RUNS = 2_000
UNITS = 4_000  # in each arm
LIFT = 0.08

Arm = dict[str, NDArray[np.float64]]

MEAN = Metric(name="revenue", title="", role="primary", numerator="revenue")
RATIO = Metric(name="ctr", title="", role="primary", numerator="clicks", denominator="searches")
NAMES = ("control", "treatment")


def clickers(rng: Generator, units: int, lift: float) -> Arm:
    """Shoppers who differ in how much they search and how readily they click."""
    searches = 1 + rng.geometric(0.15, units)
    taste = 0.85 * rng.beta(0.6, 2.4, units) * (1 + lift)
    return {"clicks": rng.binomial(searches, taste).astype(float), "searches": searches.astype(float)}


def buyers(rng: Generator, units: int, lift: float) -> Arm:
    """One in ten buys; baskets are log-normal with a tail of Pareto(2.5) whales; last month foretells."""
    habit = rng.gamma(2, 0.5, units)
    buys = rng.random(units) < np.minimum(0.1 * habit * (1 + lift), 1.0)
    whale = rng.random(units) < 0.02
    basket = np.where(whale, 100 * (1 + rng.pareto(2.5, units)), rng.lognormal(3, 0.8, units))
    return {"revenue": np.where(buys, basket, 0.0), "before": 30 * habit * rng.gamma(4, 0.25, units)}


def moments(**columns: NDArray[np.float64]) -> Moments:
    """Moments of columns, by NumPy."""
    return of_columns(columns)


def by_ratio(control: Arm, treatment: Arm) -> Comparison:
    """Ours: clicks per search with the variance over shoppers."""
    return compare(RATIO, moments(**control), moments(**treatment), names=NAMES)


def by_impression(control: Arm, treatment: Arm) -> Comparison:
    """The naive way: every search a coin of its own."""
    rates = [
        Estimate(count=int(n), value=k / n, variance=k / n * (1 - k / n) / n)
        for k, n in ((arm["clicks"].sum(), arm["searches"].sum()) for arm in (control, treatment))
    ]
    return compare_estimates(blank("it", *rates), *rates, alpha=0.05)


def raw(control: Arm, treatment: Arm) -> Comparison:
    """Revenue as it is."""
    return compare(
        MEAN, moments(revenue=control["revenue"]), moments(revenue=treatment["revenue"]), names=NAMES
    )


def capped(control: Arm, treatment: Arm) -> Comparison:
    """Revenue above the pooled 99% quantile of buyers counts as that."""
    pooled = np.concatenate([control["revenue"], treatment["revenue"]])
    cap = np.quantile(pooled[pooled > 0], 0.99)
    arms = [moments(revenue=np.minimum(arm["revenue"], cap)) for arm in (control, treatment)]
    return compare(MEAN, *arms, names=NAMES)


def adjusted(control: Arm, treatment: Arm) -> Comparison:
    """Revenue adjusted by last month's (CUPED)."""
    both = adjust_by_covariate(*(moments(y=arm["revenue"], x=arm["before"]) for arm in (control, treatment)))
    if isinstance(both, str):
        raise TypeError(both)
    arms = both.control, both.treatment
    return compare_estimates(blank("it", *arms), *arms, alpha=0.05, together=both.together)


WAYS: Sequence[tuple[str, Callable[[Generator, int, float], Arm], Callable[[Arm, Arm], Comparison]]] = (
    ("CTR, uneven shoppers", clickers, by_ratio),
    ("CTR per impression (naive)", clickers, by_impression),
    ("revenue, raw", buyers, raw),
    ("revenue, capped", buyers, capped),
    ("revenue, CUPED", buyers, adjusted),
)


def calibrate(runs: int, units: int) -> list[dict[str, Any]]:
    """One row per way of testing."""
    rows = []
    for name, draw, test in WAYS:
        rng = default_rng(20260101)
        p_values, inside = [], []
        for _ in range(runs):
            found = test(draw(rng, units, 0.0), draw(rng, units, 0.0))
            p_values.append(found.p_value)
        for _ in range(runs):
            found = test(draw(rng, units, 0.0), draw(rng, units, LIFT))
            if found.lift_low is not None and found.lift_high is not None:
                inside.append(found.lift_low <= LIFT <= found.lift_high)
        rows.append(
            {
                "test": name,
                "alarms": float(np.mean(np.array(p_values) < 0.05)),
                "uniform_p": float(stats.kstest(p_values, "uniform").pvalue),
                "coverage": float(np.mean(inside)),
            }
        )
    return rows


def looks(runs: int, units: int, planned: int) -> tuple[float, float]:
    """How often a shop with no effect is shipped or stopped over some looks: by the bounds, and by 0.05."""
    rng = default_rng(planned)
    times = [(look + 1) / planned for look in range(planned)]
    bars = [nominal_alpha(bound) for bound in bounds(times, times)]
    ours = naive = 0
    for _ in range(runs):
        control, treatment = clickers(rng, units, 0.0), clickers(rng, units, 0.0)
        p_values = []
        for time_gone in times:
            upto = int(units * time_gone)
            arms = [{name: cells[:upto] for name, cells in arm.items()} for arm in (control, treatment)]
            p_values.append(by_ratio(*arms).p_value or 1.0)
        ours += any(p < bar for p, bar in zip(p_values, bars, strict=True))
        naive += any(p < 0.05 for p in p_values)
    return ours / runs, naive / runs


def power(runs: int, units: int) -> list[dict[str, float]]:
    """How often a planted lift is shown, and how often the closed form says it is."""
    rng = default_rng(5)
    big = clickers(rng, 200_000, 0.0)
    level = big["clicks"].sum() / big["searches"].sum()
    rest = (big["clicks"] - level * big["searches"]) / big["searches"].mean()
    design = Design(variation=float(rest.std() / level))
    rows = []
    for lift in (0.04, 0.08, 0.12):
        shown = [
            (by_ratio(clickers(rng, units, 0.0), clickers(rng, units, lift)).p_value or 1.0) < 0.05
            for _ in range(runs)
        ]
        rows.append({"lift": lift, "shown": float(np.mean(shown)), "said": power_of(design, lift, 2 * units)})
    return rows


def triggers(runs: int, units: int, *, rate: float, uneven: bool) -> dict[str, float]:
    """The plain and the diluted lift of clicks per search: variance over runs, as said, and coverage."""
    rng = default_rng(6)
    experiment = load_experiments()["uniecs-recall"]
    experiment = replace(experiment, metrics=experiment.metrics[:1])
    lift = 0.3
    seen: dict[str, list[float]] = {name: [] for name in ("plain", "diluted", "said", "inside", "null")}
    for _ in range(runs):
        sides = [triggered(rng, units, rate=rate, lift=it, uneven=uneven) for it in (0.0, lift)]
        row = trigger_analysis(experiment, aggregates(*sides), "treatment", alpha=0.05)["metrics"][0]
        for name in ("plain", "diluted"):
            seen[name].append(row[name]["difference"])
        width = row["diluted"]["difference_high"] - row["diluted"]["difference_low"]
        seen["said"].append((width / 2 / 1.959964) ** 2)
        seen["inside"].append(row["diluted"]["lift_low"] <= rate * lift <= row["diluted"]["lift_high"])
        seen["null"].append(row["same"]["p_value"] < 0.05)
    return {
        "saved": 1 - float(np.var(seen["diluted"]) / np.var(seen["plain"])),
        "said_over_seen": float(np.mean(seen["said"]) / np.var(seen["diluted"])),
        "coverage": float(np.mean(seen["inside"])),
        "null_alarms": float(np.mean(seen["null"])),
        "bias": float(np.mean(seen["diluted"]) - np.mean(seen["plain"])) / float(np.std(seen["plain"])),
    }


def channels(runs: int, units: int) -> list[dict[str, float | str]]:
    """Planted: base falls from 10% to 9.5% of searches, the new channel finds 2%."""
    rng = default_rng(7)
    planted = {"base": -0.005 / 0.1, "uniecs": 0.02 / 0.1}
    found: dict[str, list[float]] = {name: [] for name in planted}
    inside, apart = [], 0.0
    for _ in range(runs):
        sides = [of_channels(rng, units, {"base": b, "uniecs": u}) for b, u in ((0.1, 0.0), (0.095, 0.02))]
        told = channel_parts(aggregates(*sides), "control", "treatment", alpha=0.05)["clicks"]
        apart = max(apart, abs(told["lift"] - sum(it["part"] for it in told["parts"])))
        inside.append(all(it["low"] <= planted[it["channel"]] <= it["high"] for it in told["parts"]))
        for it in told["parts"]:
            found[it["channel"]].append(it["part"])
    rows: list[dict[str, float | str]] = [
        {"channel": name, "planted": value, "found": float(np.mean(found[name]))}
        for name, value in planted.items()
    ]
    return [*rows, {"channel": "together", "planted": float(np.mean(inside)), "found": apart}]


def explained(runs: int, units: int) -> dict[str, float]:
    """False slopes by age, false clusters, and what shrinking saves."""
    rng = default_rng(8)
    flat, lifts = dict.fromkeys((0, 1, 2, 4, 7), 0.0), {f"kind {n}": 0.05 for n in range(12)}
    slopes, false, raw, shrunk = [], [], [], []
    for _ in range(runs):
        ages = by_age(
            aggregates(*(of_ages(rng, units, flat) for _ in "ab")), "control", "treatment", alpha=0.05
        )
        slopes.append(ages["slope_p"] < 0.05)
        null = by_cluster(
            aggregates(*(of_clusters(rng, units, dict.fromkeys(lifts, 0.0)) for _ in "ab")),
            "control",
            "treatment",
            alpha=0.05,
        )
        false.append(any(it["p_adjusted"] < 0.05 for it in null["clusters"]))
        raw += [it["lift"] ** 2 for it in null["clusters"]]
        shrunk += [it["shrunk"] ** 2 for it in null["clusters"]]
    return {
        "false_slopes": float(np.mean(slopes)),
        "false_clusters": float(np.mean(false)),
        "squared_error_left": float(np.mean(shrunk) / np.mean(raw)),
    }


def tell_the_rest(runs: int) -> None:
    """Power, and everything that explains."""
    print("\n| planted lift | shown | power, as said |\n| --- | --- | --- |")
    for row in power(runs, UNITS):
        print(f"| {row['lift']:.0%} | {row['shown']:.1%} | {row['said']:.1%} |", flush=True)
    print(
        "\n| changed searches | shoppers | variance saved | said / seen | coverage | null alarms | bias, sd |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for rate, uneven in ((0.05, False), (0.05, True), (0.3, True)):
        it = triggers(runs, 3_000, rate=rate, uneven=uneven)
        print(
            f"| {rate:.0%} | {'uneven' if uneven else 'alike'} | {it['saved']:.1%}"
            f" | {it['said_over_seen']:.3f} | {it['coverage']:.1%} | {it['null_alarms']:.1%}"
            f" | {it['bias']:+.3f} |",
            flush=True,
        )
    print("\n| channel | planted | found, mean |\n| --- | --- | --- |")
    *rows, whole = channels(runs // 4, 5_000)
    for part in rows:
        print(f"| {part['channel']} | {part['planted']:+.4f} | {part['found']:+.4f} |")
    print(f"\nparts off the whole by {whole['found']:.1e}; all inside together {whole['planted']:.1%}")
    it = explained(runs // 4, 1_500)
    print(
        f"false slopes {it['false_slopes']:.1%}, tables with a false kind {it['false_clusters']:.1%},"
        f" squared error left by shrinking {it['squared_error_left']:.1%}",
        flush=True,
    )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    began = time.perf_counter()
    print(f"{runs:,} runs, {UNITS:,} shoppers in each arm, planted lift {LIFT:.0%}\n")
    print("| test | A/A alarms at 5% | uniform p (KS) | coverage of 95% |\n| --- | --- | --- | --- |")
    for row in calibrate(runs, UNITS):
        print(
            f"| {row['test']} | {row['alarms']:.1%} | {row['uniform_p']:.3g} | {row['coverage']:.1%} |",
            flush=True,
        )
    print("\n| looks | false alarms by our bounds | by p < 0.05 at each look |\n| --- | --- | --- |")
    for planned in (4, 8, 20):
        ours, naive = looks(runs, UNITS, planned)
        print(f"| {planned} | {ours:.1%} | {naive:.1%} |", flush=True)
    tell_the_rest(runs)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
