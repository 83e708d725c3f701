"""Is the error of a lift what resampling finds? A bootstrap over buckets, as an audit of the formula.

Buckets are drawn again with replacement in each variant; the spread of the
lifts so made owes nothing to the delta method.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .experiment import Experiment
from .inference import Comparison
from .metrics import Aggregates, Moments, column_of
from .scan.buckets import unpack
from .trust import Check

DRAWS, DRAWS_SEED = 1_000, 11

# The spread of a thousand draws of buckets is known to a few percent. More apart is the formula's fault.
APART = 0.15

# With fewer buckets filled, or fewer units, a bootstrap is itself a rough guide.
FEWEST_BUCKETS, FEWEST_UNITS = 200, 1_000


def check_errors(experiment: Experiment, aggregates: Aggregates, found: Sequence[Comparison]) -> Check:
    """The standard error of each primary lift against that of resampled buckets."""
    primaries = {metric.name: metric for metric in experiment.metrics if metric.role == "primary"}
    figures: dict[str, float | int | None] = {}
    worst, said = 1.0, []
    for it in found:
        metric = primaries.get(it.metric)
        if metric is None or it.method != "log-ratio" or it.lift is None or not it.lift_standard_error:
            continue
        if min(it.n_control, it.n_treatment) < FEWEST_UNITS:
            continue
        columns = (column_of(metric), metric.denominator)
        ours, theirs = (resample(aggregates.buckets[name], columns) for name in (it.control, it.treatment))
        if ours is None or theirs is None:
            continue
        # Each variant's draws are its own lots, or the two would move together.
        spread = float(np.std(np.log(theirs / ours[::-1]), ddof=1))
        ratio = it.lift_standard_error / (1 + it.lift) / spread
        figures[f"{it.metric}_{it.treatment}"] = ratio
        said.append(f"{metric.title} {ratio:.2f} times")
        worst = ratio if abs(ratio - 1) > abs(worst - 1) else worst
    odd = abs(worst - 1) > APART
    return Check(
        name="audit",
        title="The error is what resampling finds",
        status="none" if not said else "warn" if odd else "ok",
        sentence="Too few units to resample."
        if not said
        else f"Error of the lift against {DRAWS:,} bootstrap draws of buckets: {', '.join(said)}."
        + (" Intervals are not as wide as they should be, or wider." if odd else ""),
        figures=figures,
    )


def resample(packed: Mapping[str, Any], columns: tuple[str, str | None]) -> np.ndarray | None:
    """A metric's value in each of many draws of buckets; None where there are too few."""
    buckets = [it for it in unpack(packed).values() if it.count]
    if len(buckets) < FEWEST_BUCKETS or any(name and name not in buckets[0].columns for name in columns):
        return None
    sums = np.array([_totals(it, columns) for it in buckets])
    lots = np.random.default_rng(DRAWS_SEED).multinomial(
        len(buckets), np.full(len(buckets), 1 / len(buckets)), size=DRAWS
    )
    top, below = (lots @ sums).T
    return np.asarray(top / below) if np.all(top > 0) and np.all(below > 0) else None


def _totals(it: Moments, columns: tuple[str, str | None]) -> tuple[float, float]:
    top, below = columns
    return it.mean(top) * it.count, it.mean(below) * it.count if below else float(it.count)
