"""A table to comparisons, as plain JSON: `python -m experiments compare`.

Every metric that is named counts as primary: p-values are corrected by Holm
over all metrics and treatments, those of segments by Benjamini and Hochberg.
The checks come first; if one fails, no winner is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.errors import InvalidData
from experiments.experiment import Metric
from experiments.inference import ALPHA, Comparison, Estimate, blank, compare_estimates, estimate
from experiments.metrics import Moments
from experiments.trust import Check

from .adjustment import Adjusted, adjust_by_covariate
from .exact import RARE, compare_rare
from .formula import Formula
from .scanned import WHOLE, TableScan
from .table import scan_table
from .table_trust import check_table

Result = dict[str, Any]

_BEST_FIRST = ("ship", "hold", "stop")


def compare_table(
    source: Path | object,
    *,
    variant: str,
    control: str,
    formulas: Sequence[Formula],
    unit: str | None = None,
    split: str | None = None,
    segments: Sequence[str] = (),
    alpha: float = ALPHA,
) -> Result:
    """Compare every variant of a table with control.

    Args:
        source: a CSV or Parquet file, or a data frame.
        variant: the column of the variant.
        control: its value that the others are compared with.
        formulas: the metrics.
        unit: the column of the unit, where a unit has several rows.
        split: planned shares, control first, then the others in alphabetical
            order, as 1:1:1, or by name, as control=1,treatment=1; equal by default.
        segments: columns to cut by.
        alpha: intervals hold the truth 1 - alpha of the time.

    Raises:
        InvalidData: the table or a request cannot be read; the sentence says which.
    """
    if not 0 < alpha < 1:
        raise InvalidData(f"alpha is {alpha}, must be between 0 and 1, for example 0.05")
    scan = scan_table(source, variant=variant, formulas=formulas, unit=unit, segments=segments)
    return compare_scan(
        scan,
        variant=variant,
        control=control,
        formulas=formulas,
        unit=unit,
        split=split,
        segments=segments,
        alpha=alpha,
    )


def compare_scan(
    scan: TableScan,
    *,
    variant: str,
    control: str,
    formulas: Sequence[Formula],
    unit: str | None = None,
    split: str | None = None,
    segments: Sequence[str] = (),
    alpha: float = ALPHA,
) -> Result:
    """The same from what a scan has kept: no row is read again."""
    shares = _shares(scan, control, split, variant)
    treatments = [name for name in shares if name != control]
    whole = [
        _Pair(scan, formula, (control, treatment), alpha) for treatment in treatments for formula in formulas
    ]
    found = [pair.compare() for pair in whole]
    found = [
        replace(it, p_adjusted=value) for it, value in zip(found, _corrected(found, "holm"), strict=True)
    ]
    cut = [
        (segment, value, _Pair(scan, formula, (control, treatment), alpha, segment, value))
        for segment in segments
        for value in sorted({key[2] for key in scan.moments if key[1] == segment})
        for treatment in treatments
        for formula in formulas
        if formula.kind != "quantile"
    ]
    in_segments = [pair.compare() for _, _, pair in cut]
    checks = check_table(scan, formulas, shares, found, unit=unit)
    ratio = next(check for check in checks if check.name == "sample_ratio")
    return {
        "schema_version": 1,
        "sample_ratio": {"p_value": ratio.figures["p_value"], "ok": ratio.status == "ok"},
        "comparisons": [it.as_row() | pair.beside() for it, pair in zip(found, whole, strict=True)],
        **_verdict(checks, found, formulas, alpha),
        "checks": [asdict(check) for check in checks],
        "segments": [
            {"segment": segment, "value": value} | it.as_row() | {"p_adjusted": adjusted} | pair.beside()
            for it, adjusted, (segment, value, pair) in zip(
                in_segments, _corrected(in_segments, "fdr_bh"), cut, strict=True
            )
        ],
        "caps": dict(scan.caps),
        "units": dict(scan.units),
        "rows": scan.rows,
        "alpha": alpha,
        "conventions": _conventions(scan, formulas, unit, alpha),
    }


_NOTHING = Moments(columns=("y",), count=0, means=(0.0,), comoments=((0.0,),))


class _Pair:
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


def _corrected(found: Sequence[Comparison], method: Literal["holm", "fdr_bh"]) -> list[float | None]:
    """The corrected p-value of each that has one."""
    corrected: list[float | None] = [None] * len(found)
    family = [i for i, it in enumerate(found) if it.p_value is not None]
    if family:
        values = np.array([found[i].p_value for i in family], dtype=float)
        adjusted = holm(values) if method == "holm" else stats.false_discovery_control(values)
        for i, value in zip(family, adjusted.tolist(), strict=True):
            corrected[i] = value
    return corrected


def holm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values corrected by Holm (1979): the smallest times their number, the next times one fewer."""
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _short(found: Comparison) -> dict[str, Any]:
    kept = ("control_value", "treatment_value", "difference", "difference_low", "difference_high")
    more = ("lift", "lift_low", "lift_high", "statistic", "p_value", "reason")
    return {name: getattr(found, name) for name in kept + more}


def _shares(scan: TableScan, control: str, split: str | None, column: str) -> dict[str, float]:
    """The planned share of each variant, control first."""
    others = sorted(name for name in scan.units if name != control)
    named = split is not None and "=" in split
    if named and split is not None:
        parts = dict(part.partition("=")[::2] for part in split.split(","))
        strangers = [name for name in scan.units if name not in parts]
        if strangers:
            raise InvalidData(f"{column!r} has a variant {strangers[0]!r} that --split {split} does not plan")
        others = [name for name in parts if name != control]
    if control not in scan.units and not (named and control in (split or "")):
        raise InvalidData(
            f"no row has {column} = {control!r}; its values are {', '.join(map(repr, sorted(scan.units)))}"
        )
    if not others:
        raise InvalidData(f"{column!r} has one value only, {control!r}: nothing to compare it with")
    names = [control, *others]
    weights = (
        [parts.get(name, "") for name in names] if named else (split or ":".join("1" * len(names))).split(":")
    )
    if len(weights) != len(names):
        raise InvalidData(
            f"--split {split} has {len(weights)} shares, the table {len(names)} variants: {', '.join(names)}"
        )
    try:
        numbers = [float(weight) for weight in weights]
    except ValueError as error:
        raise InvalidData(f"--split {split} must be numbers, like 1:1 or control=1,treatment=1") from error
    if not all(0 < number < float("inf") for number in numbers):
        raise InvalidData(f"--split {split} must be numbers above 0, like 1:1")
    return {name: number / sum(numbers) for name, number in zip(names, numbers, strict=True)}


def _verdict(
    checks: Sequence[Check], found: Sequence[Comparison], formulas: Sequence[Formula], alpha: float
) -> dict[str, Any]:
    failed = [check.sentence for check in checks if check.status == "fail"]
    if failed:
        return {
            "verdict": "broken",
            "headline": "Do not read the results: the experiment itself is broken.",
            "reasons": failed,
        }
    good = {formula.name: formula.good for formula in formulas}
    told: dict[str, tuple[str, str]] = {}
    reasons = []
    for treatment in dict.fromkeys(it.treatment for it in found):
        mine = [it for it in found if it.treatment == treatment]
        better: list[str] = []
        worse: list[str] = []
        for it in mine:
            if it.p_adjusted is not None and it.p_adjusted <= alpha:
                (better if ((it.difference or 0) > 0) is (good[it.metric] == "up") else worse).append(
                    it.metric
                )
        word = "stop" if worse else "ship" if better else "hold"
        said = {
            "stop": f"{' and '.join(worse)} got worse in {treatment}",
            "ship": f"{' and '.join(better)} improved in {treatment}",
            "hold": f"no metric clearly moved in {treatment}",
        }[word]
        told[treatment] = (word, said)
        reasons += [_reason(it, alpha) for it in mine]
    word, said = min(told.values(), key=lambda one: _BEST_FIRST.index(one[0]))
    return {"verdict": word, "headline": f"{word.capitalize()}: {said}.", "reasons": reasons}


def _reason(it: Comparison, alpha: float) -> str:
    if it.p_adjusted is None:
        return f"{it.metric} in {it.treatment}: {it.reason}."
    moved = f"{it.lift:+.2%}" if it.lift is not None else f"{it.difference:+.4g}"
    passes = "is below" if it.p_adjusted <= alpha else "is not below"
    return f"{it.metric} in {it.treatment} {moved}: p = {it.p_adjusted:.3g} (Holm) {passes} {alpha:g}."


def _conventions(scan: TableScan, formulas: Sequence[Formula], unit: str | None, alpha: float) -> list[str]:
    caps = [
        f"{it.name}: totals above {scan.caps[it.name]:,.6g} count as that"
        + (
            f", the {it.cap:.4g} quantile of the units that have any, all variants pooled"
            if it.cap < 1
            else ""
        )
        + "; it must have been declared before the start, and the raw comparison is beside it."
        for it in formulas
        if it.cap is not None and it.name in scan.caps
    ]
    return [
        f"A unit is {'a value of ' + unit if unit else 'a row'}; variances are over units"
        " (delta method for ratios).",
        f"Intervals are {1 - alpha:.0%}. A lift is relative to control; its p-value and interval come from"
        f" one statistic: log-ratio, Fieller's near zero, exact where fewer than {RARE} units have any.",
        "p_adjusted is Holm's over all metrics and treatments; in segments it is Benjamini and Hochberg's"
        " over all segments.",
        "A covariate takes out what was there before (CUPED); the lift stays over the control as measured.",
        *caps,
    ]
