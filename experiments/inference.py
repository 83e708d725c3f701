"""Differences between two variants, with intervals and p-values, from moments alone.

The unit of analysis is the unit that was randomised: a ratio such as clicks
per search gets its variance by the delta method (Deng, Knoblich and Lu 2018),
never from counting impressions. A lift has its p-value and its interval from
one statistic, so they cannot disagree:

log-ratio    log(treatment / control), where both are clearly away from zero
Fieller      otherwise; its p-value is Welch's for the difference

What cannot be computed has a reason in words; no number here is ever NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, expm1, isfinite, log, sqrt
from typing import Any

from scipy import special

from .experiment import Metric
from .metrics import Moments, column_of

ALPHA = 0.05  # 95% intervals

# Nearer to zero than this many standard errors, a value is not divided by.
CLEARLY_AWAY = 3.0

# The square of a larger number may be infinite.
LARGEST = 1e150

# Above this many degrees of freedom, Student's t is the normal to three digits.
MANY = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric in one variant: its value and the variance of that value, or the reason for neither."""

    count: int
    value: float | None
    variance: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric, two variants.

    Attributes:
        lift: (treatment - control) / |control|.
        statistic: what the p-value and the lift's interval both come from.
        p_adjusted: Holm over the primary metrics; None for the others.
        method: `log-ratio`, `Fieller`, or empty if nothing could be computed.
        reason: why a number is missing, in words; or why both ends of the lift are the same.
    """

    metric: str
    control: str
    treatment: str
    n_control: int
    n_treatment: int
    control_value: float | None
    treatment_value: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    lift: float | None = None
    lift_low: float | None = None
    lift_high: float | None = None
    lift_standard_error: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    method: str = ""
    reason: str = ""

    def as_row(self) -> dict[str, Any]:
        """Its fields by name; by the ten thousand, `asdict` would take longer than the statistics."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(Comparison.__dataclass_fields__)


def estimate(metric: Metric, moments: Moments, *, variant: str) -> Estimate:
    """A metric's value in one variant."""
    column, below, count = column_of(metric), metric.denominator, moments.count
    if count == 0:
        return Estimate(count=0, value=None, variance=None, reason=f"{variant} has no units")
    if column not in moments.columns:
        return Estimate(
            count=count,
            value=None,
            variance=None,
            reason=f"no unit has any {metric.numerator}: nothing to cap",
        )
    base = 1.0 if below is None else moments.mean(below)
    if base == 0:
        return Estimate(count=count, value=None, variance=None, reason=f"{variant} has no {below}")
    value = moments.mean(column) / base
    if count == 1:
        return Estimate(count=1, value=value, variance=None, reason=f"{variant} has one unit only")
    variance = moments.covariance(column, column)
    if below is not None:
        variance += value * value * moments.covariance(below, below) - 2 * value * moments.covariance(
            column, below
        )
    # A ratio that is the same for every unit can come out a hair below zero.
    return Estimate(count=count, value=value, variance=max(variance, 0.0) / (count * base * base))


def compare(
    metric: Metric, control: Moments, treatment: Moments, *, names: tuple[str, str], alpha: float = ALPHA
) -> Comparison:
    """Compare a metric in two variants; `names` are control's and treatment's."""
    ours, theirs = estimate(metric, control, variant=names[0]), estimate(metric, treatment, variant=names[1])
    plain = blank(metric.name, ours, theirs, names=names)
    reason = ours.reason or theirs.reason
    if reason:
        return replace(plain, reason=reason)
    return compare_estimates(plain, ours, theirs, alpha=alpha)


def blank(
    metric: str, control: Estimate, treatment: Estimate, *, names: tuple[str, str] = ("A", "B")
) -> Comparison:
    """Two values side by side, not yet compared."""
    return Comparison(
        metric=metric,
        control=names[0],
        treatment=names[1],
        n_control=control.count,
        n_treatment=treatment.count,
        control_value=control.value,
        treatment_value=treatment.value,
    )


def compare_estimates(
    plain: Comparison, control: Estimate, treatment: Estimate, *, alpha: float, together: float = 0.0
) -> Comparison:
    """Fill in a comparison from two values and their variances.

    `together` is the covariance of the two values: none for two separate
    samples, some once a covariate has adjusted one by the other.
    """
    c, t, vc, vt = control.value, treatment.value, control.variance, treatment.variance
    if c is None or t is None or vc is None or vt is None:
        return replace(plain, reason=control.reason or treatment.reason)
    if not all(isfinite(number) for number in (c, t, vc, vt)):
        return replace(plain, reason="the logs hold a number that is not finite")
    if max(abs(c), abs(t), vc, vt) > LARGEST:
        return replace(plain, reason=f"a number is above {LARGEST:g}, too large to be squared")
    error = sqrt(max(vc + vt - 2 * together, 0.0))
    if error == 0:
        same = "every unit has the same value" if c == t else "no unit differs from its own variant"
        return replace(plain, difference=t - c, reason=f"no variation: {same}")
    df = _welch_df(vc, vt, control.count, treatment.count)
    reach = _quantile(alpha, df) * error
    away = {"difference": t - c, "difference_low": t - c - reach, "difference_high": t - c + reach}
    if c * t > 0 and abs(c) > CLEARLY_AWAY * sqrt(vc) and abs(t) > CLEARLY_AWAY * sqrt(vt):
        return _log_ratio(plain, away, control, treatment, alpha=alpha, together=together)
    found = replace(plain, **away)  # type: ignore[arg-type]
    return _fieller(found, control, treatment, alpha=alpha, together=together)


def adjust(comparisons: Sequence[Comparison], metrics: Sequence[Metric]) -> list[Comparison]:
    """Give the primary comparisons their Holm-adjusted p-values; the others stay as they are."""
    from statsmodels.stats.multitest import multipletests  # slow to import, used once per report

    primaries = {metric.name for metric in metrics if metric.role == "primary"}
    family = [i for i, it in enumerate(comparisons) if it.metric in primaries and it.p_value is not None]
    adjusted = list(comparisons)
    if family:
        _, values, _, _ = multipletests([comparisons[i].p_value for i in family], method="holm")
        for i, value in zip(family, values, strict=True):
            adjusted[i] = replace(comparisons[i], p_adjusted=float(value))
    return adjusted


def p_in_words(p_value: float) -> str:
    """A p-value as it is read; how far below a ten-thousandth it is tells nobody anything.

    >>> p_in_words(0.0123), p_in_words(4e-20)
    ('p = 0.012', 'p < 0.0001')
    """
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def _log_ratio(
    plain: Comparison,
    away: Mapping[str, float],
    control: Estimate,
    treatment: Estimate,
    *,
    alpha: float,
    together: float,
) -> Comparison:
    c, t, vc, vt = _numbers(control, treatment)
    sign = 1.0 if c > 0 else -1.0  # a control of -10 that becomes -5 has risen by half
    from_control, from_treatment = vc / c**2, vt / t**2
    error = sqrt(from_control + from_treatment - 2 * together / (c * t))
    df = _welch_df(from_control, from_treatment, control.count, treatment.count)
    centre = log(t / c)
    reach = _quantile(alpha, df) * error
    ends = sorted((sign * expm1(centre - reach), sign * expm1(centre + reach)))
    return replace(
        plain,
        **away,  # type: ignore[arg-type]
        lift=sign * expm1(centre),
        lift_low=ends[0],
        lift_high=ends[1],
        lift_standard_error=exp(centre) * error,
        statistic=sign * centre / error,
        p_value=_p_value(centre / error, df),
        method="log-ratio",
    )


def _fieller(
    found: Comparison, control: Estimate, treatment: Estimate, *, alpha: float, together: float
) -> Comparison:
    c, t, vc, vt = _numbers(control, treatment)
    error = sqrt(vc + vt - 2 * together)
    df = _welch_df(vc, vt, control.count, treatment.count)
    statistic = (t - c) / error
    tested = replace(found, statistic=statistic, p_value=_p_value(statistic, df), method="Fieller")
    reach = _quantile(alpha, df) ** 2
    leading = c**2 - reach * vc
    if leading <= 0:
        return replace(
            tested, reason=f"{found.control} is not clearly different from zero: no lift; see the difference"
        )
    middle = t * c - reach * together
    root = sqrt(max(middle**2 - leading * (t**2 - reach * vt), 0.0))
    sign = 1.0 if c > 0 else -1.0
    ends = sorted(sign * ((middle + way * root) / leading - 1) for way in (-1, 1))
    return replace(
        tested,
        reason=f"no interval can be given, as {found.treatment} has nothing at all" if t == vt == 0 else "",
        lift=(t - c) / abs(c),
        lift_low=ends[0],
        lift_high=ends[1],
        lift_standard_error=sqrt(max(vt + (t / c) ** 2 * vc - 2 * t / c * together, 0.0)) / abs(c),
    )


def _numbers(control: Estimate, treatment: Estimate) -> tuple[float, float, float, float]:
    numbers = (control.value, treatment.value, control.variance, treatment.variance)
    c, t, vc, vt = (number if number is not None else 0.0 for number in numbers)
    return c, t, vc, vt


def _welch_df(vc: float, vt: float, n_control: int, n_treatment: int) -> float:
    below = vc**2 / (n_control - 1) + vt**2 / (n_treatment - 1)
    return (vc + vt) ** 2 / below if below > 0 else MANY


def _quantile(alpha: float, df: float) -> float:
    return float(-special.ndtri(alpha / 2) if df >= MANY else -special.stdtrit(df, alpha / 2))


def _p_value(statistic: float, df: float) -> float:
    # The bare functions: a hundredth of the time of scipy.stats, which matters by the ten thousand.
    tail = special.ndtr(-abs(statistic)) if df >= MANY else special.stdtr(df, -abs(statistic))
    return float(2 * tail)
