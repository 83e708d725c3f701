"""Are the error rates what they say? `python -m benchmarks.calibration`.

Draws shops with no effect, and with a planted one, and counts: how often an
A/A test alarms, whether its p-values are uniform, how often an interval holds
the truth, and how often four looks ship nothing as something. Prints a table.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy import stats

from experiments.adjustment import adjust_by_covariate
from experiments.experiment import Metric
from experiments.inference import Comparison, Estimate, compare, compare_estimates
from experiments.metrics import Moments
from experiments.sequential import bounds, nominal_alpha

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
    table = np.array(list(columns.values()))
    centred = table - table.mean(axis=1, keepdims=True)
    return Moments(
        columns=tuple(columns),
        count=table.shape[1],
        means=tuple(table.mean(axis=1)),
        comoments=tuple(map(tuple, centred @ centred.T)),
    )


def by_ratio(control: Arm, treatment: Arm) -> Comparison:
    """Ours: clicks per search with the variance over shoppers."""
    return compare(RATIO, moments(**control), moments(**treatment), names=NAMES)


def by_impression(control: Arm, treatment: Arm) -> Comparison:
    """The naive way: every search a coin of its own."""
    rates = [
        Estimate(count=int(n), value=k / n, variance=k / n * (1 - k / n) / n)
        for k, n in ((arm["clicks"].sum(), arm["searches"].sum()) for arm in (control, treatment))
    ]
    return compare_estimates(blank(), *rates, alpha=0.05)


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
    return compare_estimates(blank(), both.control, both.treatment, alpha=0.05, together=both.together)


def blank() -> Comparison:
    return Comparison(
        metric="it",
        control="control",
        treatment="treatment",
        n_control=0,
        n_treatment=0,
        control_value=None,
        treatment_value=None,
    )


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
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
