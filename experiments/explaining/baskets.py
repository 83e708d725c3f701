"""More orders, or larger ones? Revenue per unit is orders per unit times revenue per order.

The two lifts multiply to the whole, and all three have one variance: a shop
that sells more often and cheaper is not one where nothing happened.
"""

from typing import Any

import numpy as np

from experiments.inference import CLEARLY_AWAY
from experiments.metrics import Aggregates, Moments

from .delta import Vector, joint_reach, propagate

PARTS = ("orders", "per_order", "revenue")


def revenue_parts(aggregates: Aggregates, control: str, treatment: str, *, alpha: float) -> dict[str, Any]:
    """The lift of revenue per unit in its two factors, the intervals holding together."""
    blank: dict[str, Any] = {"treatment": treatment, "reason": "", **dict.fromkeys(PARTS)}
    cut = aggregates.cuts["whole"]
    if len(aggregates.currencies) > 1:
        return blank | {"reason": f"orders are in several currencies ({', '.join(aggregates.currencies)})"}
    samples = [cut[name] for name in (control, treatment) if name in cut]
    if len(samples) < 2 or not all(_is_clear(it) for it in samples):
        return blank | {"reason": "too few orders to tell more orders from larger ones"}
    order, spent = (samples[0].columns.index(name) for name in ("orders", "revenue"))

    def factors(*means: Vector) -> Vector:
        ours, theirs = means
        often = np.log(theirs[order] / ours[order])
        whole = np.log(theirs[spent] / ours[spent])
        return np.array([often, whole - often, whole])

    values, covariance = propagate(factors, *samples)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    reach = joint_reach(covariance, alpha=alpha)
    return blank | {
        name: {
            "lift": float(np.expm1(value)),
            "lift_low": float(np.expm1(value - reach * error)),
            "lift_high": float(np.expm1(value + reach * error)),
        }
        for name, value, error in zip(PARTS, values, errors, strict=True)
    }


def _is_clear(it: Moments) -> bool:
    """Whether both means are far enough above zero for a logarithm."""
    return it.count > 1 and all(
        it.mean(column) > CLEARLY_AWAY * (it.covariance(column, column) / it.count) ** 0.5
        for column in ("orders", "revenue")
    )
