"""Does an effect wear off? The lift by days since a unit's own first search.

One cohort, seen equally long, so that no age is a different crowd. All ages are
inside the band at once; the slope is tested with the ages' own covariance,
because the same units are seen again at each.
"""

from itertools import pairwise
from math import expm1, log1p
from typing import Any

import numpy as np
from scipy import special

from experiments.inference import CLEARLY_AWAY
from experiments.metrics import Aggregates

from .delta import Vector, joint_reach, propagate


def by_age(aggregates: Aggregates, control: str, treatment: str, *, alpha: float) -> dict[str, Any]:
    """The lift in clicks per search at each age, with a simultaneous band and a test of the slope."""
    cut = aggregates.cuts.get("ages", {})
    blank: dict[str, Any] = {"treatment": treatment, "ages": [], "slope_p": None, "reason": ""}
    samples = [cut[name] for name in (control, treatment) if name in cut]
    if len(samples) < 2 or min(it.count for it in samples) < 2:
        return blank | {"reason": "too early: no shopper has been seen long enough"}
    edges = [(first, last) for first, last in pairwise(aggregates.ages)]
    clicks = [samples[0].columns.index(f"clicks_{first}") for first, _ in edges]
    searches = [samples[0].columns.index(f"searches_{first}") for first, _ in edges]
    # At each age both variants need clicks that are clearly there, or a ratio says nothing.
    kept = [
        place
        for place in range(len(edges))
        if all(
            _clear(it.means[clicks[place]], it.comoments[clicks[place]][clicks[place]], it.count)
            for it in samples
        )
    ]
    if len(kept) < 3:
        return blank | {"reason": "too few clicks at each age"}

    def log_ratios(ours: Vector, theirs: Vector) -> Vector:
        rate = [np.array([of[clicks[p]] / of[searches[p]] for p in kept]) for of in (ours, theirs)]
        ratios: Vector = np.log(rate[1] / rate[0])
        return ratios

    values, covariance = propagate(log_ratios, *samples)
    errors = np.sqrt(np.diag(covariance))
    reach = joint_reach(covariance, alpha=alpha)
    days = np.array([(edges[p][0] + edges[p][1] - 1) / 2 for p in kept])
    design = np.column_stack([np.ones(len(kept)), [log1p(day) for day in days]])
    weight = np.linalg.inv(covariance)
    of_line = np.linalg.inv(design.T @ weight @ design)
    line = of_line @ design.T @ weight @ values
    statistic = float(line[1] / np.sqrt(of_line[1, 1]))
    p_value = float(2 * special.ndtr(-abs(statistic)))
    last = float(design[-1] @ line)
    error = float(np.sqrt(design[-1] @ of_line @ design[-1]))
    single = float(-special.ndtri(alpha / 2))
    return blank | {
        "units": {control: samples[0].count, treatment: samples[1].count},
        "reach": reach,
        "slope_p": p_value,
        "fades": bool(p_value < alpha and line[1] * values.mean() < 0),
        "grows": bool(p_value < alpha and line[1] * values.mean() > 0),
        "steady": {
            "lift": expm1(last),
            "low": expm1(last - single * error),
            "high": expm1(last + single * error),
        },
        "ages": [
            {
                "first_day": edges[p][0],
                "last_day": edges[p][1] - 1,
                "lift": expm1(value),
                "low": expm1(value - reach * error),
                "high": expm1(value + reach * error),
            }
            for p, value, error in zip(kept, values, errors, strict=True)
        ],
    }


def _clear(mean: float, comoment: float, count: int) -> bool:
    return bool(mean > 0 and mean**2 > CLEARLY_AWAY**2 * comoment / (count - 1) / count)
