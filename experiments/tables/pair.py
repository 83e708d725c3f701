"""One metric in two variants of a scan: the test that fits it, and what is shown beside it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.experiment import Metric
from experiments.inference import Comparison, Estimate, blank, compare_estimates, estimate
from experiments.metrics import Moments

from .adjustment import Adjusted, adjust_by_covariate
from .exact import RARE, compare_rare
from .formula import Formula
from .scanned import WHOLE, TableScan

_NOTHING = Moments(columns=("y",), count=0, means=(0.0,), comoments=((0.0,),))


class Pair:
    """One metric in two variants of a scan, whole or in one segment."""

    def __init__(
        self,
        scan: TableScan,
        formula: Formula,
        names: tuple[str, str],
        alpha: float,
        segment: str = WHOLE,
        value: str = WHOLE,
    ) -> None:
        self._scan, self._formula, self._names, self._alpha = scan, formula, names, alpha
        self._key = (formula.name, segment, value)
        self._adjusted: Adjusted | str | None = None
        if formula.covariate and all(self._estimate(scan.moments, i).variance is not None for i in (0, 1)):
            self._adjusted = adjust_by_covariate(*self._two(scan.moments))

    def compare(self) -> Comparison:
        """Quantiles, adjusted by a covariate, rare counts or plain: the first that it is."""
        if self._formula.kind == "quantile":
            return self._compare_quantiles()
        if self._adjusted is None or isinstance(self._adjusted, str):
            return self._compare(self._scan.moments)
        both = self._adjusted
        plain = self._blank(both.control, both.treatment)
        return compare_estimates(
            plain, both.control, both.treatment, alpha=self._alpha, together=both.together
        )

    def beside(self) -> dict[str, Any]:
        """What is shown next to a comparison: the raw one by a capped, the plain one by an adjusted."""
        found: dict[str, Any] = {"formula": str(self._formula), "good": self._formula.good}
        if self._formula.cap is not None and self._key in self._scan.raw:
            found |= {
                "cap": self._scan.caps[self._formula.name],
                "raw": _short(self._compare(self._scan.raw)),
            }
        if isinstance(self._adjusted, str):
            found |= {"covariate": None, "covariate_reason": self._adjusted}
        elif self._adjusted is not None:
            found |= {
                "covariate": list(self._formula.covariate),
                "theta": self._adjusted.theta,
                "variance_saved": self._adjusted.variance_saved,
                "unadjusted": _short(self._compare(self._scan.moments)),
            }
        return found

    def _compare(self, source: Mapping[tuple[str, str, str], Mapping[str, Moments]]) -> Comparison:
        c, t = self._estimate(source, 0), self._estimate(source, 1)
        plain = self._blank(c, t)
        if c.reason or t.reason:
            return replace(plain, reason=c.reason or t.reason)
        if self._formula.kind == "proportion" and c.value is not None and t.value is not None:
            had, have = round(c.value * c.count), round(t.value * t.count)
            if min(had, have) < RARE and had + have > 0:
                return compare_rare(plain, had, have, alpha=self._alpha)
        return compare_estimates(plain, c, t, alpha=self._alpha)

    def _compare_quantiles(self) -> Comparison:
        found = self._scan.quantiles[self._formula.name]
        estimates = []
        for name in self._names:
            it = found.get(name)
            if it is None or it.standard_error is None or it.value is None:
                reason = f"{name} has {'one unit only' if it else 'no units'}"
                estimates.append(
                    Estimate(count=it.rows if it else 0, value=None, variance=None, reason=reason)
                )
            else:
                estimates.append(
                    Estimate(count=it.rows, value=it.value, variance=it.standard_error * it.standard_error)
                )
        return compare_estimates(self._blank(*estimates), *estimates, alpha=self._alpha)

    def _blank(self, control: Estimate, treatment: Estimate) -> Comparison:
        return blank(self._formula.name, control, treatment, names=self._names)

    def _two(self, source: Mapping[tuple[str, str, str], Mapping[str, Moments]]) -> tuple[Moments, Moments]:
        cell = source.get(self._key, {})
        return cell.get(self._names[0], _NOTHING), cell.get(self._names[1], _NOTHING)

    def _estimate(self, source: Mapping[tuple[str, str, str], Mapping[str, Moments]], which: int) -> Estimate:
        return _estimate(self._formula, self._two(source)[which], self._names[which])


def _estimate(formula: Formula, moments: Moments, variant: str) -> Estimate:
    if not moments.count:
        return Estimate(count=0, value=None, variance=None, reason=f"{variant} has no units with a value")
    if formula.below is None:
        found = estimate(_MEAN, moments, variant=variant)
    else:
        found = estimate(_RATIO, moments, variant=variant)
        if found.value is None:
            return replace(found, reason=f"{variant} has no {formula.below}")
    return found


class _Columns(Metric):
    """A metric over the scan's own letters instead of the logs' columns."""

    def __post_init__(self) -> None:
        """The letters were checked when the scan was made."""


_MEAN = _Columns(name="y", title="", role="primary", numerator="y")
_RATIO = _Columns(name="y", title="", role="primary", numerator="y", denominator="d")


def _short(found: Comparison) -> dict[str, Any]:
    kept = ("control_value", "treatment_value", "difference", "difference_low", "difference_high")
    more = ("lift", "lift_low", "lift_high", "statistic", "p_value", "reason")
    return {name: getattr(found, name) for name in kept + more}
