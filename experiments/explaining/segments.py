"""The declared segments: where the lift is another one than everywhere else.

A unit is in one cell, by what it was before anything could have an effect. Each
cell is held against all other units, and those p-values are corrected by
Benjamini and Hochberg: a cell is different, or it is not said to be.
"""

from collections.abc import Mapping
from functools import reduce
from math import log1p, sqrt
from operator import add
from typing import Any

from scipy import special, stats

from experiments.experiment import Experiment, Metric
from experiments.inference import Comparison, compare, p_in_words
from experiments.metrics import Aggregates, Moments
from experiments.scan.segment_scan import KNOWN
from experiments.trust import SAMPLE_RATIO_ALPHA, Check, sample_ratio

# In a smaller cell a lift is mostly chance, and a shopper is nearly a name: it is counted, not compared.
FEWEST = 100

Found = dict[str, Any]


def by_segment(experiment: Experiment, aggregates: Aggregates, treatment: str, *, alpha: float) -> Found:
    """The primary metrics of one treatment in each cell of each declared segment."""
    names = (experiment.control, treatment)
    rows = [
        _row(metric, segment, value, cells, names, alpha=alpha)
        for metric in experiment.metrics
        if metric.role == "primary"
        for segment, cells in _cells(experiment, aggregates).items()
        for value in cells
    ]
    _correct(rows, "p_value", "p_adjusted")
    _correct(rows, "differs_p", "differs_p_adjusted")
    for row in rows:
        row["differs"] = row["differs_p_adjusted"] is not None and row["differs_p_adjusted"] <= alpha
    return {
        "treatment": treatment,
        "cells": rows,
        "tested": sum(row["differs_p"] is not None for row in rows),
        "different": [f"{row['segment']} {row['value']}" for row in rows if row["differs"]],
        "smallest_p": min(
            (row["differs_p_adjusted"] for row in rows if row["differs_p_adjusted"] is not None), default=None
        ),
        "alpha": alpha,
        "fewest": FEWEST,
    }


def check_segments(experiment: Experiment, aggregates: Aggregates) -> list[Check]:
    """Whether the declared segments are in the logs, and split as planned: one that is not is an effect."""
    if not experiment.segments:
        return []
    cut = _cells(experiment, aggregates)
    missing = [name for name in experiment.segments if name not in cut]
    shares = {variant.name: variant.share for variant in experiment.variants}
    p_values = {
        f"{name} {value}": sample_ratio({arm: it.count for arm, it in cell.items()}, shares)
        for name, cells in cut.items()
        for value, cell in cells.items()
    }
    worst = min(p_values, key=lambda cell: p_values[cell], default="")
    skewed = bool(worst) and p_values[worst] * len(p_values) < SAMPLE_RATIO_ALPHA
    said = [
        f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} declared and not in the logs, so not cut;"
        f" there are {', '.join(KNOWN)}, and columns of text of the exposures."
        if missing
        else f"All {len(cut)} declared segments are in the logs."
        if len(cut) > 1
        else f"The declared segment {next(iter(cut))} is in the logs."
    ]
    if skewed:
        said.append(
            f"{worst} is not split as planned ({p_in_words(p_values[worst])}): the variant itself moves units"
            " into it or out, so its lift is not an effect."
        )
    return [
        Check(
            name="segments",
            title="Segments",
            status="warn" if missing or skewed else "ok",
            sentence=" ".join(said),
            figures={
                "missing": len(missing),
                "cells": len(p_values),
                "p_value": p_values[worst] if worst else None,
            },
        )
    ]


def _cells(experiment: Experiment, aggregates: Aggregates) -> dict[str, dict[str, Mapping[str, Moments]]]:
    """Segment, value, variant; the largest cell first."""
    found: dict[str, dict[str, Mapping[str, Moments]]] = {}
    for name in experiment.segments:
        head = f"segment:{name}="
        cells = {cut[len(head) :]: of for cut, of in aggregates.cuts.items() if cut.startswith(head)}
        by_size = sorted(cells, key=lambda value: (-sum(it.count for it in cells[value].values()), value))
        if cells:
            found[name] = {value: cells[value] for value in by_size}
    return found


def _row(
    metric: Metric,
    segment: str,
    value: str,
    cells: Mapping[str, Mapping[str, Moments]],
    names: tuple[str, str],
    *,
    alpha: float,
) -> Found:
    cell = cells[value]
    counts = [cell[name].count if name in cell else 0 for name in names]
    row: Found = {
        "segment": segment,
        "value": value,
        "metric": metric.name,
        "title": metric.title,
        "n_control": counts[0],
        "n_treatment": counts[1],
        "reason": "",
        "rest_lift": None,
        "differs_p": None,
    }
    row |= dict.fromkeys(("lift", "lift_low", "lift_high", "p_value"))
    if min(counts) < FEWEST:
        return row | {"reason": f"fewer than {FEWEST} in a variant"}
    here = compare(metric, cell[names[0]], cell[names[1]], names=names, alpha=alpha)
    row |= {name: getattr(here, name) for name in ("lift", "lift_low", "lift_high", "p_value", "reason")}
    others = [[it[name] for at, it in cells.items() if at != value and name in it] for name in names]
    if all(others):
        rest = compare(metric, reduce(add, others[0]), reduce(add, others[1]), names=names, alpha=alpha)
        if min(rest.n_control, rest.n_treatment) >= FEWEST:
            row |= {"rest_lift": rest.lift, "differs_p": differs(here, rest)}
    return row


def differs(one: Comparison, other: Comparison) -> float | None:
    """The p-value that two separate sets of units have one lift, on the log scale."""
    if {one.method, other.method} != {"log-ratio"} or (one.control_value or 0.0) <= 0:
        return None
    logs, errors = [], []
    for it in (one, other):
        if it.lift is None or not it.lift_standard_error:
            return None
        logs.append(log1p(it.lift))
        errors.append(it.lift_standard_error / (1 + it.lift))
    return float(2 * special.ndtr(-abs(logs[0] - logs[1]) / sqrt(errors[0] ** 2 + errors[1] ** 2)))


def _correct(rows: list[Found], raw: str, corrected: str) -> None:
    asked = [row for row in rows if row[raw] is not None]
    for row in rows:
        row[corrected] = None
    if asked:
        values = stats.false_discovery_control([row[raw] for row in asked])
        for row, p_value in zip(asked, values, strict=True):
            row[corrected] = float(p_value)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
