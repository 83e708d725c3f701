"""What the rest of the run can still show, and what changed since the look before.

Both are worked out from the aggregates alone, so an old page can be made again.
"""

from collections.abc import Sequence
from math import ceil, log, log1p, sqrt
from typing import Any

from scipy import special

from experiments.anytime import POWER
from experiments.inference import Comparison
from experiments.sequential import bounds

# Others published 0.5% to 3% on conversion for a new recall channel; clicks move more.
TARGETS = (0.01, 0.02, 0.05, 0.10)


def outlook(
    found: Comparison, *, time_gone: float, times: Sequence[float], planned_weeks: float, alpha: float
) -> dict[str, Any]:
    """The chance to cross the last bar, and the weeks a lift of a given size would take.

    Args:
        found: a primary metric, all units since the start.
        time_gone: the share of the planned time.
        times: of all planned looks, as shares of the planned time.
        planned_weeks: how long the whole run is.
        alpha: of all looks together.
    """
    blank: dict[str, Any] = {"power_at_end": None, "weeks_for": []}
    if found.method != "log-ratio" or found.lift is None or not found.lift_standard_error:
        return blank
    sign = 1.0 if (found.control_value or 0.0) > 0 else -1.0
    seen = log(1 + sign * found.lift)
    error = found.lift_standard_error / (1 + sign * found.lift)
    bar = bounds(times, times, alpha=alpha)[-1]
    left = max(1 - time_gone, 0.0)
    power = None
    if left > 1e-9:
        # If what is seen now is the truth, z at the end is normal around it.
        centre, spread = seen / error / sqrt(time_gone), sqrt(left)
        power = float(special.ndtr((abs(centre) - bar) / spread))
    reach = float(-special.ndtri(alpha / 2) + special.ndtri(POWER))
    return {
        "power_at_end": power,
        "weeks_for": [
            {"lift": lift, "weeks": ceil(time_gone * planned_weeks * (reach * error / log1p(lift)) ** 2)}
            for lift in TARGETS
        ],
    }


def since_last_look(
    now: Sequence[Comparison], before: Sequence[Comparison], *, days: int, last_day: str
) -> dict[str, Any]:
    """How each estimate moved with the newest stretch of days."""
    rows = []
    for late, early in zip(now, before, strict=True):
        if late.lift is None or early.lift is None:
            continue
        rows.append(
            {
                "metric": late.metric,
                "treatment": late.treatment,
                "units_added": late.n_control + late.n_treatment - early.n_control - early.n_treatment,
                **_as_of(early, "before"),
                **_as_of(late, "now"),
                "moved": late.lift - early.lift,
                "moved_difference": (late.difference or 0.0) - (early.difference or 0.0),
            }
        )
    return {"last_day": last_day, "days": days, "metrics": rows}


def _as_of(found: Comparison, when: str) -> dict[str, float | None]:
    return {
        f"{what}_{when}{end}": getattr(found, what + end)
        for what in ("lift", "difference")
        for end in ("", "_low", "_high")
    } | {f"p_{when}": found.p_value}
