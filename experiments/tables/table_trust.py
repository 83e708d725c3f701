"""May a table's comparison be believed? The same questions as of logs, and those a table can answer.

A failed check means that the comparison itself is broken; a warning is shown
and leaves the verdict alone.
"""

from collections.abc import Mapping, Sequence

from scipy import stats

from experiments.inference import Comparison
from experiments.trust import CROSSED_LIMIT, SAMPLE_RATIO_ALPHA, Check, check_sample_ratio
from experiments.trust_numbers import Spread, check_balance, check_influence, check_skewness, check_twyman

from .formula import Formula
from .scanned import WHOLE, TableScan


def check_table(
    scan: TableScan,
    formulas: Sequence[Formula],
    shares: Mapping[str, float],
    found: Sequence[Comparison],
    *,
    unit: str | None,
) -> list[Check]:
    """All checks of a table, the gravest first."""
    return [
        check_sample_ratio(scan.units, shares, lost="rows"),
        _rows_left_out(scan, unit),
        _missing(scan, formulas),
        _balance(scan, formulas, list(shares)),
        check_skewness([it for formula in formulas for it in _spreads(scan, formula.name).values()]),
        _influence(scan, found),
        check_twyman(found),
    ]


def _rows_left_out(scan: TableScan, unit: str | None) -> Check:
    crossed, known = scan.crossed_units, sum(scan.units.values())
    share = crossed / (known + crossed) if crossed else 0.0
    lost = scan.unlabelled_rows / scan.rows
    parts = []
    if scan.unlabelled_rows:
        parts.append(f"{scan.unlabelled_rows:,} of {scan.rows:,} rows have no variant and are left out.")
    if crossed:
        parts.append(f"{crossed:,} units are in two variants ({share:.2%}) and are left out.")
    if not parts:
        parts = ["Every row has a variant" + (", and every unit one only." if unit else ".")]
    bad = max(share, lost) > CROSSED_LIMIT
    return Check(
        name="left_out",
        title="One variant each",
        status="fail" if bad else "warn" if crossed or scan.unlabelled_rows else "ok",
        sentence=" ".join(parts) + (f" More than {CROSSED_LIMIT:.0%} breaks the comparison." if bad else ""),
        figures={"crossed_units": crossed, "unlabelled_rows": scan.unlabelled_rows},
    )


def _missing(scan: TableScan, formulas: Sequence[Formula]) -> Check:
    """Values that are missing more often in one variant bias what is left."""
    outcomes = {column for it in formulas for column in (it.column, it.below) if column}
    worst, parts = 1.0, []
    for column, lacking in scan.missing.items():
        p_value = 1.0
        if column in outcomes:
            table = [[lacking.get(name, 0) for name in scan.units], list(scan.units.values())]
            p_value = float(stats.chi2_contingency(table).pvalue) if len(scan.units) > 1 else 1.0
        worst = min(worst, p_value)
        counted = ", ".join(f"{name} {lacking.get(name, 0):,}" for name in scan.units)
        what = "left out of its metrics" if column in outcomes else "taken as the mean, which moves nobody"
        parts.append(f"{column} has no value in some rows ({counted}): {what}.")
    uneven = worst < SAMPLE_RATIO_ALPHA
    return Check(
        name="missing",
        title="Values are there",
        status="fail" if uneven else "warn" if parts else "ok",
        sentence=" ".join(parts)
        + (" Uneven between variants: what is left is no fair sample." if uneven else "")
        or "No value is missing.",
        figures={"p_value": worst},
    )


def _balance(scan: TableScan, formulas: Sequence[Formula], names: Sequence[str]) -> Check:
    pairs = []
    for formula in formulas:
        moments = scan.moments.get((formula.name, WHOLE, WHOLE), {})
        pairs += [
            (f"{formula.covariate[0]} between {names[0]} and {name}", moments[names[0]], moments[name], "x")
            for name in names[1:]
            if formula.covariate and names[0] in moments and name in moments
        ]
    return check_balance(pairs)


def _spreads(scan: TableScan, metric: str) -> dict[str, Spread]:
    moments = scan.moments.get((metric, WHOLE, WHOLE), {})
    return {
        name: Spread(metric=metric, variant=name, column="y", shape=shape, moments=moments[name])
        for name, shape in scan.shapes.get(metric, {}).items()
        if "d" not in moments[name].columns
    }


def _influence(scan: TableScan, found: Sequence[Comparison]) -> Check:
    pairs = []
    for it in found:
        spreads = _spreads(scan, it.metric)
        if it.p_value is not None and it.control in spreads and it.treatment in spreads:
            pairs.append((spreads[it.control], spreads[it.treatment]))
    return check_influence(pairs)
