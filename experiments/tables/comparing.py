"""A table to comparisons, as plain JSON: `python -m experiments compare`.

Every metric that is named counts as primary: p-values are corrected by Holm
over all metrics and treatments, those of segments by Benjamini and Hochberg.
The checks come first; if one fails, no winner is named.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.errors import InvalidData
from experiments.inference import ALPHA, Comparison

from .exact import RARE
from .formula import Formula
from .pair import Pair
from .scanned import TableScan
from .table import scan_table
from .table_trust import check_table
from .table_verdict import verdict_of

Result = dict[str, Any]


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
        Pair(scan, formula, (control, treatment), alpha) for treatment in treatments for formula in formulas
    ]
    found = [pair.compare() for pair in whole]
    found = [
        replace(it, p_adjusted=value) for it, value in zip(found, _corrected(found, "holm"), strict=True)
    ]
    cut = [
        (segment, value, Pair(scan, formula, (control, treatment), alpha, segment, value))
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
        **verdict_of(checks, found, formulas, alpha),
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
