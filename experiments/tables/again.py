"""A/A tests by the thousand: split the same units again and again, where nothing differs.

Units are hashed into 1,000 buckets whose moments add up, so a split is a sum of
buckets and no row is read twice. If the variance is right, p-values are
uniform; if units are not independent, or a tail is too heavy for its number,
they are not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.errors import InvalidData
from experiments.inference import Estimate, blank, compare_estimates
from experiments.metrics import Moments
from experiments.scan.buckets import BUCKETS, Matrix, Stack

from .formula import Formula
from .table import scan_buckets

# Fewer filled buckets than this cannot be split into halves that are alike.
FEWEST_BUCKETS = 20

# Splits of the same units share them, so their p-values stray a little more than lots would.
UNIFORM_ALPHA = 0.001


def repeat_a_a(
    source: Path | object,
    *,
    formulas: Sequence[Formula],
    unit: str | None = None,
    runs: int = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Split a table's units in two at random, many times, and see what a test says of nothing.

    Args:
        source: a CSV or Parquet file, or a data frame.
        formulas: means, ratios and proportions, with their caps and covariates.
        unit: the column of the unit, where a unit has several rows.
        runs: how many splits.
        seed: of the lots; the same seed gives the same splits.

    Raises:
        InvalidData: the table cannot be read, a quantile is asked for, or there are too few units.
    """
    if not 100 <= runs <= 100_000:
        raise InvalidData(f"runs is {runs}, must be from 100 to 100000")
    for formula in formulas:
        if formula.kind == "quantile":
            raise InvalidData(f"metric {formula.name!r}: quantiles do not add up over buckets; leave it out")
    buckets = scan_buckets(source, formulas=formulas, unit=unit, buckets=BUCKETS)
    rng = np.random.default_rng(seed)
    metrics = []
    for formula in formulas:
        found = p_values(formula, buckets[formula.name], runs=runs, rng=rng)
        metrics.append(
            {
                "metric": formula.name,
                "formula": str(formula),
                "units": sum(it.count for it in buckets[formula.name]),
                **say(found),
            }
        )
    return {"schema_version": 1, "runs": runs, "buckets": BUCKETS, "seed": seed, "metrics": metrics}


def p_values(
    formula: Formula, buckets: Sequence[Moments], *, runs: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The p-value of each split of the buckets into halves."""
    filled = [it for it in buckets if it.count]
    if len(filled) < FEWEST_BUCKETS:
        raise InvalidData(f"metric {formula.name!r}: {len(filled)} units with a value are too few to split")
    stack = Stack.of(filled)
    halves = stack.halves(runs=runs, rng=rng)
    theta = _theta(formula, filled)
    return np.array(
        [
            _p_value(formula, *(_estimate(formula, stack.centre, half, run, theta) for half in halves))
            for run in range(runs)
        ]
    )


def say(found: NDArray[np.float64]) -> dict[str, float | bool]:
    """How often splits of nothing alarm, whether their p-values are uniform, and whether that will do."""
    uniform = float(stats.kstest(found, "uniform").pvalue)
    share = float(np.mean(found < 0.05))
    return {"false_alarms": share, "uniform_p": uniform, "ok": uniform >= UNIFORM_ALPHA and share <= 0.07}


def _weights(formula: Formula, means: Matrix, which: str) -> tuple[float, Matrix]:
    """A mean or ratio and its gradient over the columns y, d, x, e."""
    weights = np.zeros(len(means))
    at = 0 if which == "y" else 2 if formula.below else 1
    has_base = bool(formula.below) if which == "y" else len(formula.covariate) == 2
    base = means[at + 1] if has_base else 1.0
    value = means[at] / base
    weights[at] = 1 / base
    if has_base:
        weights[at + 1] = -value / base
    return float(value), weights


def _theta(formula: Formula, buckets: Sequence[Moments]) -> float:
    if not formula.covariate:
        return 0.0
    whole = buckets[0]
    for bucket in buckets[1:]:
        whole += bucket
    means, sums = np.array(whole.means), np.array(whole.comoments)
    (_, y), (_, x) = (_weights(formula, means, which) for which in "yx")
    spread = x @ sums @ x
    return float(y @ sums @ x / spread) if spread > 0 else 0.0


def _estimate(
    formula: Formula, centre: Matrix, half: Mapping[str, Matrix], run: int, theta: float
) -> Estimate:
    means = half["means"][run]
    value, weights = _weights(formula, means, "y")
    if theta:
        beside, gradient = _weights(formula, means, "x")
        value -= theta * (beside - _weights(formula, centre, "x")[0])
        weights = weights - theta * gradient
    count = int(half["n"][run])
    variance = max(float(weights @ half["covariance"][run] @ weights), 0.0) / count
    return Estimate(count=count, value=value, variance=variance)


def _p_value(formula: Formula, control: Estimate, treatment: Estimate) -> float:
    found = compare_estimates(blank(formula.name, control, treatment), control, treatment, alpha=0.05)
    return 1.0 if found.p_value is None else found.p_value
