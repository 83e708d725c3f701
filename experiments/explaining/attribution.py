"""Which channel a lift came from: parts that add up to the whole.

What base found is base's, in both variants, because it would have been there
anyway: another channel earns nothing by finding it too. What base did not find
is split evenly between the channels that did (Shapley's value, base given).
Base's own part falls where the others push its products down: displacement.
"""

from typing import Any

import numpy as np

from experiments.metrics import Aggregates

from .delta import Vector, joint_reach, propagate

# A part of a lift smaller than this is what a sum of floats leaves over.
_NOTHING = 1e-6


def channel_parts(aggregates: Aggregates, control: str, treatment: str, *, alpha: float) -> dict[str, Any]:
    """Per channel, its part of the lift in clicks per search and in revenue per unit."""
    cut = aggregates.cuts["parts"]
    if control not in cut or treatment not in cut:
        return {"treatment": treatment, "clicks": None, "revenue": None}
    return {
        "treatment": treatment,
        "clicks": _split(aggregates, control, treatment, "clicks", "searches", alpha=alpha),
        "revenue": None
        if len(aggregates.currencies) > 1
        else _split(aggregates, control, treatment, "revenue", None, alpha=alpha),
    }


def _split(
    aggregates: Aggregates, control: str, treatment: str, what: str, below: str | None, *, alpha: float
) -> dict[str, Any] | None:
    samples = [aggregates.cuts["parts"][name] for name in (control, treatment)]
    if min(it.count for it in samples) < 2 or samples[0].mean(what) <= 0:
        return None
    columns = samples[0].columns
    via = [columns.index(f"{what}_via_{number}") for number in range(len(aggregates.channels))]
    top, base = columns.index(what), None if below is None else columns.index(below)

    def parts(*means: Vector) -> Vector:
        rates = []
        for of in means:
            under = of[base] if base is not None else 1.0
            known = [of[place] / under for place in via]
            rates.append(np.array([*known, of[top] / under - sum(known)]))
        lifts = (rates[1] - rates[0]) / rates[0].sum()
        return np.append(lifts, lifts.sum())

    values, covariance = propagate(parts, *samples)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    reach = joint_reach(covariance, alpha=alpha)
    names = [*aggregates.channels, "elsewhere"]
    return {
        "lift": float(values[-1]),
        "reach": reach,
        "parts": [
            {
                "channel": name,
                "part": float(value),
                "low": float(value - reach * error),
                "high": float(value + reach * error),
            }
            for name, value, error in zip(names, values, errors, strict=False)
            if name != "elsewhere" or max(abs(value), error) > _NOTHING
        ],
    }
