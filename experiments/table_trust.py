"""May a table's comparison be believed? The same questions as of logs, and those a table can answer.

A failed check means that the comparison itself is broken; a warning is shown
and leaves the verdict alone.
"""

from collections.abc import Mapping, Sequence
from math import sqrt

from scipy import stats

from .formula import Formula
from .inference import Comparison
from .metrics import Moments
from .table import WHOLE, TableScan
from .trust import CROSSED_LIMIT, SAMPLE_RATIO_ALPHA, Check, sample_ratio

# A mean needs this many units per variant, times the square of its skewness,
# before a normal interval holds (Kohavi et al. 2014).
SKEWNESS_RULE = 355

# A single unit never moves a mean by much more than one standard error, however
# large: it widens the error as well. Half of one is a unit that decides alone.
INFLUENCE_LIMIT = 0.5

# A lift larger than this is more often a bug than a discovery (Twyman's law).
TWYMAN_LIFT = 0.5


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
        _sample_ratio(scan, shares),
        _rows_left_out(scan, unit),
        _missing(scan, formulas),
        _balance(scan, formulas, list(shares)),
        _skewness(scan, formulas),
        _influence(scan, found),
        _twyman(found),
    ]


def _sample_ratio(scan: TableScan, shares: Mapping[str, float]) -> Check:
    p_value = sample_ratio(scan.units, shares)
    ok = p_value >= SAMPLE_RATIO_ALPHA
    total = sum(scan.units.values())
    counted = ", ".join(
        f"{name} {scan.units.get(name, 0):,} ({scan.units.get(name, 0) / total:.2%}, planned {share:.2%})"
        for name, share in shares.items()
    )
    answer = (
        "As planned" if ok else "Not as planned: find out why (lost rows, crashes, bots) before reading on"
    )
    return Check(
        name="sample_ratio",
        title="Sample ratio",
        status="ok" if ok else "fail",
        sentence=f"Units: {counted}. {answer} (p = {p_value:.3g}).",
        figures={"p_value": p_value},
    )


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
    """Before the experiment the variants must not differ."""
    worst, where = 1.0, ""
    covered = [it for it in formulas if it.covariate]
    for formula in covered:
        moments = scan.moments.get((formula.name, WHOLE, WHOLE), {})
        for treatment in names[1:]:
            p_value = _difference_p(moments.get(names[0]), moments.get(treatment), "x")
            if p_value < worst:
                worst, where = p_value, f"{formula.covariate[0]} between {names[0]} and {treatment}"
    ok = worst >= SAMPLE_RATIO_ALPHA
    return Check(
        name="balance",
        title="Alike before",
        status="ok" if ok else "fail",
        sentence="No covariate to compare the variants by before the experiment."
        if not covered
        else "Before the experiment the variants were alike."
        if ok
        else f"Before the experiment the variants already differed: {where} (p = {worst:.2g}).",
        figures={"p_value": worst},
    )


def _difference_p(control: Moments | None, treatment: Moments | None, column: str) -> float:
    if control is None or treatment is None or min(control.count, treatment.count) < 2:
        return 1.0
    error = sqrt(sum(it.covariance(column, column) / it.count for it in (control, treatment)))
    if error == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(control.mean(column) - treatment.mean(column)) / error))


def _skewness(scan: TableScan, formulas: Sequence[Formula]) -> Check:
    short = []
    needed_most = 0.0
    for formula in formulas:
        for name, shape in scan.shapes.get(formula.name, {}).items():
            needed = SKEWNESS_RULE * (shape.skewness or 0.0) ** 2
            count = scan.moments[formula.name, WHOLE, WHOLE][name].count
            needed_most = max(needed_most, needed)
            if count < needed:
                short.append(
                    f"{formula.name} in {name} has {count:,} units, its skewness asks for {needed:,.0f}"
                )
    return Check(
        name="skewness",
        title="Enough for its tail",
        status="warn" if short else "ok",
        sentence=f"Intervals are rough: {'; '.join(short)}; cap it, or run longer."
        if short
        else "Every mean has the units its skewness asks for.",
        figures={"units_needed": needed_most},
    )


def _influence(scan: TableScan, found: Sequence[Comparison]) -> Check:
    """Whether one unit alone moves a difference by a good part of its standard error."""
    heavy, largest_move = [], 0.0
    for it in found:
        moments = scan.moments.get((it.metric, WHOLE, WHOLE), {})
        if it.metric not in scan.shapes or it.p_value is None or "d" in next(iter(moments.values())).columns:
            continue
        for name in (it.control, it.treatment):
            mine, count = moments[name], moments[name].count
            pair = [moments[it.control], moments[it.treatment]]
            error = sqrt(sum(one.covariance("y", "y") / one.count for one in pair))
            moved = (scan.shapes[it.metric][name].largest - mine.mean("y")) / (count - 1)
            if error and moved / error > largest_move:
                largest_move = moved / error
            if error and moved > INFLUENCE_LIMIT * error:
                heavy.append(
                    f"The largest unit of {name} moves {it.metric} by {moved / error:.1f} standard errors"
                )
    return Check(
        name="influence",
        title="No unit decides alone",
        status="warn" if heavy else "ok",
        sentence=f"{'; '.join(dict.fromkeys(heavy))}: cap the metric before the next start."
        if heavy
        else "No single unit moves a mean by more than half its standard error.",
        figures={"standard_errors": largest_move},
    )


def _twyman(found: Sequence[Comparison]) -> Check:
    odd = [
        f"{it.metric} in {it.treatment} {it.lift:+.0%}"
        for it in found
        if it.lift is not None and abs(it.lift) > TWYMAN_LIFT and it.p_value is not None and it.p_value < 0.01
    ]
    return Check(
        name="twyman",
        title="Not too good to be true",
        status="warn" if odd else "ok",
        sentence=f"Larger than most that are real: {', '.join(odd)}; look for a bug in the logs first."
        if odd
        else f"No clear change is larger than {TWYMAN_LIFT:.0%}.",
        figures={"lifts": len(odd)},
    )
