"""A comparison as text for a terminal: the verdict, the checks that speak, one line per metric."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.inference import p_in_words

_COLUMNS = ("metric", "treatment", "control", "treated", "lift", "interval", "p", "p (Holm)")


def as_text(result: Mapping[str, Any]) -> str:
    """Everything a reader needs, and nothing that is not in the JSON."""
    lines = [result["headline"], *(f"  {reason}" for reason in result["reasons"]), ""]
    rows = [_row(it) for it in result["comparisons"]]
    lines += _aligned([_COLUMNS, *rows])
    for it in result["comparisons"]:
        lines += [f"  {note}" for note in _notes(it)]
    for place in dict.fromkeys((it["segment"], it["value"]) for it in result["segments"]):
        lines += ["", f"{place[0]} = {place[1]}  (p corrected over all segments)"]
        lines += _aligned([_row(it) for it in result["segments"] if (it["segment"], it["value"]) == place])
    lines += ["", "May it be trusted?"]
    lines += [f"  {it['status']:4}  {it['title']}: {it['sentence']}" for it in result["checks"]]
    return "\n".join(lines)


def _row(it: Mapping[str, Any]) -> tuple[str, ...]:
    if it["lift_low"] is not None and it["lift_low"] == it["lift_high"]:
        change, between = f"{it['lift']:+.2%}", it["reason"]
    elif it["lift_low"] is not None:
        high = "no end" if it["lift_high"] is None else f"{it['lift_high']:+.2%}"
        change, between = f"{it['lift']:+.2%}", f"{it['lift_low']:+.2%} to {high}"
    elif it["difference_low"] is not None:
        change = f"{it['difference']:+.4g}"
        between = f"{it['difference_low']:+.4g} to {it['difference_high']:+.4g}"
    else:
        change, between = "-", it["reason"]
    return (
        it["metric"],
        it["treatment"],
        _value(it["control_value"]),
        _value(it["treatment_value"]),
        change,
        between,
        _p(it["p_value"]),
        _p(it["p_adjusted"]),
    )


def _notes(it: Mapping[str, Any]) -> list[str]:
    notes = []
    if "raw" in it:
        notes.append(f"{it['metric']} is capped at {it['cap']:,.6g}; uncapped: {_other(it['raw'])}")
    if it.get("unadjusted"):
        notes.append(
            f"{it['metric']} is adjusted by {' / '.join(it['covariate'])}, which saves"
            f" {it['variance_saved']:.0%} of the variance; unadjusted: {_other(it['unadjusted'])}"
        )
    if it.get("covariate_reason"):
        notes.append(f"{it['metric']} is not adjusted: {it['covariate_reason']}")
    return notes


def _other(it: Mapping[str, Any]) -> str:
    if it["lift_low"] is None:
        return it["reason"] or f"{it['difference']:+.4g}, {p_in_words(it['p_value'])}"
    return f"{it['lift']:+.2%} ({it['lift_low']:+.2%} to {it['lift_high']:+.2%}), {p_in_words(it['p_value'])}"


def _value(number: float | None) -> str:
    return "-" if number is None else f"{number:,.5g}"


def _p(number: float | None) -> str:
    return "-" if number is None else "< 0.0001" if number < 0.0001 else f"{number:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
