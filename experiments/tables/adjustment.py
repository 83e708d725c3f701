"""CUPED: take out of a difference what was already there before the experiment.

The treatment's value is moved by theta times the gap between the variants'
covariates; theta is one number per pair, from both variants' units together
(Deng, Xu, Kohavi and Walker 2013). A ratio is adjusted through its linear form,
and may have a ratio as its covariate. Control stays as it was measured, so the
lift is over the unadjusted control, and the covariance that this makes between
the two values is carried into the variance.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.inference import Estimate
from experiments.metrics import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """Two values after adjustment.

    Attributes:
        together: the covariance of the two values.
        theta: how much of the covariate's gap is taken out.
        variance_saved: the share of the difference's variance that is gone.
    """

    control: Estimate
    treatment: Estimate
    together: float
    theta: float
    variance_saved: float


@dataclass(frozen=True, slots=True)
class _Linear:
    """A mean or ratio as a weighted sum of columns, near its value."""

    value: float
    weights: Mapping[str, float]

    @classmethod
    def of(cls, moments: Moments, top: str, below: str) -> "_Linear":
        if below not in moments.columns:
            return cls(moments.mean(top), {top: 1.0})
        base = moments.mean(below)
        value = moments.mean(top) / base
        return cls(value, {top: 1 / base, below: -value / base})


def adjust_by_covariate(control: Moments, treatment: Moments) -> Adjusted | str:
    """Adjust y (over d) by x (over e); a string says why not."""
    for name, moments in (("control", control), ("treatment", treatment)):
        if "e" in moments.columns and moments.mean("e") == 0:
            return f"the covariate's denominator is zero in {name}"
    both = control + treatment
    spread = _covariance(both, "x", "x")
    if spread <= 0:
        return "the covariate has one value for all units"
    theta = _covariance(both, "y", "x") / spread
    c, t = _Linear.of(control, "y", "d"), _Linear.of(treatment, "y", "d")
    xc, xt = _Linear.of(control, "x", "e"), _Linear.of(treatment, "x", "e")
    n, m = control.count, treatment.count
    of_control = _covariance(control, "y", "y") / n
    of_treatment = _covariance(treatment, "y", "y") / m
    gap = (_covariance(control, "x", "x") / n) + (_covariance(treatment, "x", "x") / m)
    together = theta * _covariance(control, "x", "y") / n
    adjusted = of_treatment - 2 * theta * _covariance(treatment, "x", "y") / m + theta**2 * gap
    after = of_control + adjusted - 2 * together
    return Adjusted(
        control=Estimate(count=n, value=c.value, variance=of_control),
        treatment=Estimate(
            count=m, value=t.value - theta * (xt.value - xc.value), variance=max(adjusted, 0.0)
        ),
        together=together,
        theta=theta,
        variance_saved=1 - max(after, 0.0) / (of_control + of_treatment),
    )


def _covariance(moments: Moments, one: str, other: str) -> float:
    """Between two of y, x per unit, each over its denominator where it has one."""
    first = _Linear.of(moments, one, {"y": "d", "x": "e"}[one]).weights
    second = _Linear.of(moments, other, {"y": "d", "x": "e"}[other]).weights
    return sum(a * b * moments.covariance(i, j) for i, a in first.items() for j, b in second.items())
