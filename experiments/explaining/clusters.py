"""Where a lift is larger or smaller: by kind of query, pulled towards the common lift.

The smallest clusters stray the furthest by chance. Each estimate is shrunk by
how much of the spread between clusters is more than noise (empirical Bayes,
normal on the log scale); p-values are corrected by Benjamini and Hochberg.
"""

from math import expm1, log, sqrt
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from experiments.experiment import Metric
from experiments.inference import compare
from experiments.metrics import Aggregates

from .delta import Vector

CTR = Metric(
    name="ctr", title="Clicks per search", role="secondary", numerator="clicks", denominator="searches"
)


def by_cluster(aggregates: Aggregates, control: str, treatment: str, *, alpha: float) -> dict[str, Any]:
    """The lift in clicks per search by kind of query: as measured, and shrunk."""
    rows = []
    for name, cut in sorted(aggregates.cuts.items()):
        if not name.startswith("cluster:") or control not in cut or treatment not in cut:
            continue
        found = compare(CTR, cut[control], cut[treatment], names=(control, treatment), alpha=alpha)
        if found.method != "log-ratio" or found.lift is None or not found.lift_standard_error:
            continue
        rows.append(
            {
                "cluster": name.partition(":")[2],
                "units": found.n_control + found.n_treatment,
                "searches": round(sum(it.mean("searches") * it.count for it in cut.values())),
                "lift": found.lift,
                "low": found.lift_low,
                "high": found.lift_high,
                "p_value": found.p_value,
                "log": log(1 + found.lift),
                "error": found.lift_standard_error / (1 + found.lift),
            }
        )
    blank: dict[str, Any] = {"treatment": treatment, "clusters": [], "differ_p": None, "spread": None}
    if not rows:
        return blank
    values, errors = (np.array([row[key] for row in rows], dtype=float) for key in ("log", "error"))
    shrunk = shrink(values, errors)
    corrected = stats.false_discovery_control([row["p_value"] for row in rows])
    reach = float(-special.ndtri(alpha / 2))
    return blank | {
        "differ_p": differ(values, errors),
        "spread": shrunk["spread"],
        "common": expm1(float(shrunk["common"])),
        "clusters": [
            {key: row[key] for key in ("cluster", "units", "searches", "lift", "low", "high", "p_value")}
            | {
                "p_adjusted": float(p_value),
                "shrunk": expm1(value),
                "shrunk_low": expm1(value - reach * error),
                "shrunk_high": expm1(value + reach * error),
            }
            for row, p_value, value, error in zip(
                rows, corrected, shrunk["values"], shrunk["errors"], strict=True
            )
        ],
    }


def differ(values: Vector, errors: Vector) -> float | None:
    """The p-value that all clusters have one lift (Cochran's Q)."""
    if len(values) < 2:
        return None
    common = float(np.average(values, weights=errors**-2))
    return float(stats.chi2.sf((((values - common) / errors) ** 2).sum(), len(values) - 1))


def shrink(values: Vector, errors: Vector) -> dict[str, Any]:
    """Each value towards the common one; the spread between them by Paule and Mandel."""

    def excess(spread: float) -> float:
        weights = 1 / (errors**2 + spread)
        common = np.average(values, weights=weights)
        return float((weights * (values - common) ** 2).sum()) - (len(values) - 1)

    spread = 0.0
    if len(values) > 1 and excess(0.0) > 0:
        top = float(np.ptp(values)) ** 2 + float((errors**2).max())
        while excess(top) > 0:
            top *= 2
        spread = float(optimize.brentq(excess, 0.0, top))
    weights = 1 / (errors**2 + spread)
    common = float(np.average(values, weights=weights))
    kept = spread / (errors**2 + spread)
    # What is not known of the common lift stays in each one's error.
    error = np.sqrt(kept * errors**2 + (1 - kept) ** 2 / weights.sum())
    return {
        "values": [float(it) for it in common + kept * (values - common)],
        "errors": [float(it) for it in error],
        "common": common,
        "spread": sqrt(spread),
    }
