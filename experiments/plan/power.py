"""How many units a lift needs, which lift some units can show, and how surely.

Closed forms for the log-ratio test that the report uses: a metric is known by
its coefficient of variation, sd / mean. Normal quantiles throughout, so that no
effect is too large for an answer (a noncentral t gives up on large ones).
"""

from dataclasses import dataclass
from math import ceil, expm1, log1p, sqrt

from scipy import stats

from experiments.errors import InvalidData


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is planned.

    Attributes:
        variation: sd / mean of the metric per unit; of a share p it is sqrt((1 - p) / p).
        alpha: how often a test without an effect may alarm.
        share: of the units that see the treatment.
        saved: the share of the variance that a covariate takes out.
        tests: how many comparisons share alpha (Bonferroni, a little stricter than Holm).
    """

    variation: float
    alpha: float = 0.05
    share: float = 0.5
    saved: float = 0.0
    tests: int = 1

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("variation", self.variation, 0.0, 1e9),
            ("alpha", self.alpha, 0.0, 1.0),
            ("share", self.share, 0.0, 1.0),
        ):
            if not low < value < high:
                raise InvalidData(f"{name} is {value}, must be above {low:g} and below {high:g}")
        if not 0 <= self.saved < 1:
            raise InvalidData(f"the share saved by a covariate is {self.saved}, must be in [0, 1)")
        if self.tests < 1:
            raise InvalidData(f"tests is {self.tests}, must be at least 1")

    @property
    def spread(self) -> float:
        """The variance of the log-ratio, times the number of units in all."""
        return self.variation**2 * (1 - self.saved) * (1 / self.share + 1 / (1 - self.share))


def units_needed(design: Design, lift: float, *, power: float = 0.8) -> int:
    """Units in all variants together for a lift to be shown with this power.

    >>> units_needed(Design(variation=8.0), 0.05)  # revenue with mean 3.75 and sd 30
    844079
    """
    _check_lift(lift)
    return ceil(((_bar(design) + _reach(power)) / log1p(lift)) ** 2 * design.spread)


def smallest_lift(design: Design, units: int, *, power: float = 0.8) -> float:
    """The rise that so many units show with this power.

    >>> round(smallest_lift(Design(variation=8.0), 844_079), 4)
    0.05
    """
    if units < 2:
        raise InvalidData(f"units is {units}, must be at least 2")
    return expm1((_bar(design) + _reach(power)) * sqrt(design.spread / units))


def power_of(design: Design, lift: float, units: int) -> float:
    """How often so many units show a lift.

    >>> round(power_of(Design(variation=8.0), 0.05, 844_079), 3)
    0.8
    """
    _check_lift(lift)
    if units < 2:
        raise InvalidData(f"units is {units}, must be at least 2")
    away = abs(log1p(lift)) / sqrt(design.spread / units)
    bar = _bar(design)
    return float(stats.norm.sf(bar - away) + stats.norm.sf(bar + away))


def _bar(design: Design) -> float:
    return float(stats.norm.isf(design.alpha / design.tests / 2))


def _reach(power: float) -> float:
    if not 0 < power < 1:
        raise InvalidData(f"power is {power}, must be between 0 and 1, for example 0.8")
    return float(stats.norm.ppf(power))


def _check_lift(lift: float) -> None:
    if not (-1 < lift < 1e6) or lift == 0:
        raise InvalidData(f"lift is {lift}, must be above -1 and not 0; 0.05 is 5%")
