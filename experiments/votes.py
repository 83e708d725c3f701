"""Votes between two rankings: the preference, its interval, and how much sooner it is known than a lift.

Pure. Each unit has one vote, however much it clicks; those without a
preference abstain and are counted.
"""

from collections.abc import Sequence
from math import sqrt

from scipy import special, stats


def preference(wins: int, losses: int, *, alpha: float) -> dict[str, float]:
    """The share of votes for one of two rankings, by the exact binomial test; somebody has voted."""
    test = stats.binomtest(wins, wins + losses)
    low, high = test.proportion_ci(confidence_level=1 - alpha, method="exact")
    return {
        "preference": wins / (wins + losses),
        "preference_low": float(low),
        "preference_high": float(high),
        "p_value": float(test.pvalue),
    }


def signal(p_value: float, units: int) -> float:
    """How much each unit has to say: the evidence, as standard errors from nothing, per root of units."""
    return float(-special.ndtri(max(p_value, 1e-300) / 2)) / sqrt(units)


def sensitivity(ours: Sequence[float], theirs: Sequence[float], *, alpha: float) -> dict[str, float | None]:
    """How many units of one design tell as much as one unit of another, by Fieller.

    Args:
        ours: p-value and units of the design that might tell more.
        theirs: of the other.
        alpha: of the interval. Where the other design shows nothing there is no upper end.
    """
    (p_ours, n_ours), (p_theirs, n_theirs) = ours, theirs
    mine, other = signal(p_ours, int(n_ours)), signal(p_theirs, int(n_theirs))
    reach = float(-special.ndtri(alpha / 2)) ** 2
    leading, last = other**2 - reach / n_theirs, mine**2 - reach / n_ours
    # Real, unless neither design shows anything.
    root = sqrt(max((mine * other) ** 2 - leading * last, 0.0))
    if last <= 0:
        low = 0.0
    elif leading > 0:
        low = (mine * other - root) / leading
    else:
        low = last / (mine * other + root)
    return {
        "ratio": (mine / other) ** 2 if leading > 0 else None,
        "ratio_low": low**2,
        "ratio_high": ((mine * other + root) / leading) ** 2 if leading > 0 else None,
    }
