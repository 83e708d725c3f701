"""Intervals that hold at every look at once, and what a run can still show.

The mixture form of the sequential probability ratio test (Robbins 1970; Howard
et al. 2021): wider than a single look's interval, true however often and
whenever it is looked at. It stands beside the group-sequential bar, which is
sharper because its looks are planned; neither replaces the other.
"""

from math import exp, expm1, log, log1p, sqrt

from scipy import stats

from .inference import Comparison
from .sequential import alpha_spent

POWER = 0.8


def reach(variance: float, *, tuned_at: float, alpha: float) -> float:
    """How far an always-valid interval goes to each side of an estimate.

    Args:
        variance: of the estimate now.
        tuned_at: the variance at which the interval is to be tightest: that of the planned end.
        alpha: how often the interval may ever miss.

    >>> round(reach(1.0, tuned_at=1.0, alpha=0.05), 2)  # 1.96 for a single look
    3.04
    """
    # The width is least where mixture over estimate has this ratio (Howard et al. 2021, 3.5).
    mixture = tuned_at * (2 * log(1 / alpha) + log1p(2 * log(1 / alpha)))
    both = variance + mixture
    return sqrt(variance * both / mixture * (log(both / variance) + 2 * log(1 / alpha)))


def at_any_time(found: Comparison, *, time_gone: float, alpha: float) -> dict[str, float | None]:
    """The always-valid interval of a lift, and the lift that 80% of such runs would show.

    Args:
        found: a comparison of all units since the start.
        time_gone: the share of the planned time; what is known grows with it.
        alpha: how often the interval may ever miss.
    """
    nothing = dict.fromkeys(("always_low", "always_high", "detectable_now", "detectable_at_end"))
    if found.method != "log-ratio" or found.lift is None or not found.lift_standard_error:
        return {**nothing}
    sign = 1.0 if (found.control_value or 0.0) > 0 else -1.0
    ratio = 1 + sign * found.lift
    error = found.lift_standard_error / ratio
    at_end = error * sqrt(time_gone)
    wide = reach(error**2, tuned_at=at_end**2, alpha=alpha)
    ends = sorted(sign * expm1(log(ratio) + way * wide) for way in (-1, 1))
    bar = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER))
    return {
        "always_low": ends[0],
        "always_high": ends[1],
        "detectable_now": exp(bar * error) - 1,
        "detectable_at_end": exp(bar * at_end) - 1,
    }


def alpha_account(time_gone: float, *, alpha: float) -> dict[str, float]:
    """What the looks so far may have spent of alpha, and what is left for the others."""
    spent = alpha_spent(min(time_gone, 1.0), alpha)
    return {"alpha": alpha, "spent": spent, "left": alpha - spent}
