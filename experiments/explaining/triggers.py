"""What the change did where it could do anything, and what that is to everybody.

A search whose page is the same in both variants cannot be told apart by a
shopper: leaving it out takes away noise and no effect. The effect on changed
pages is diluted to all by its exact share, so it can be held against the plain
comparison; the unchanged pages must show nothing, or nothing is diluted.

Clicks per search are cut by search, other metrics by unit (changed, if any of
its searches was). What is not known stays in, with all its noise. Where only
treatment logs what changed, its answers to a query speak for control's.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from experiments.experiment import Experiment, Metric
from experiments.inference import Comparison, Estimate, compare, compare_estimates, estimate, p_in_words
from experiments.metrics import Aggregates, Moments, column_of
from experiments.trust import SAMPLE_RATIO_ALPHA, sample_ratio

from .delta import Vector, propagate

Cuts = Mapping[str, Mapping[str, Moments]]
Pair = tuple[str, str]

_KEPT = ("changed", "unknown")  # what is left once `same` is taken out

# What shoppers do. Time and failures are other: a channel takes them whether or not it changes the page.
_DEEDS = ("clicks", "add_to_carts", "orders", "revenue")

# So little of terms that cancel is what rounding left of them, which differs between processors.
_ROUNDING = 1e-12

# Below this the unchanged pages are said to differ; strict, because it is asked of every metric every week.
NULL_ALPHA = 0.001


def trigger_analysis(
    experiment: Experiment, aggregates: Aggregates, treatment: str, *, alpha: float
) -> dict[str, Any]:
    """The changed searches by themselves, diluted, and the check that the rest shows nothing."""
    names = (experiment.control, treatment)
    cuts = aggregates.cuts
    blank: dict[str, Any] = {"known": aggregates.trigger, "treatment": treatment, "metrics": [], "ok": False}
    if aggregates.trigger == "none":
        return blank | {"reason": "no search in the logs says whether its page changed"}
    if any(name not in cuts["parts"] for name in names):
        return blank | {"reason": "a variant has no units"}
    units = {
        part: {name: _count(cuts.get(f"class:{part}", {}), name) for name in names}
        for part in ("changed", "same", "unknown")
    }
    shares = {variant.name: variant.share for variant in experiment.variants if variant.name in names}
    whole = sum(shares.values())
    p_value = sample_ratio(units["changed"], {name: share / whole for name, share in shares.items()})
    searches = {
        part: {name: _total(cuts["parts"][name], f"searches_{part}") for name in names} for part in units
    }
    every = sum(sum(of.values()) for of in searches.values())
    found = blank | {
        "units": units,
        "searches": searches,
        "shares": {part: sum(of.values()) / every for part, of in searches.items()},
        "sample_ratio": {"p_value": p_value, "ok": p_value >= SAMPLE_RATIO_ALPHA},
    }
    if not all(units["changed"].values()):
        return found | {"reason": "no page changed in one of the variants, as far as is known"}
    if p_value < SAMPLE_RATIO_ALPHA:
        return found | {
            "reason": f"the shoppers with a changed page are not split as planned ({p_in_words(p_value)}):"
            " what triggers is not the same in both variants"
        }
    rows = [_metric(it, cuts, names, alpha) for it in experiment.metrics if it.numerator in _DEEDS]
    odd = [row["metric"] for row in rows if row["same"]["p_value"] is not None and not row["null_ok"]]
    return found | {
        "metrics": rows,
        "ok": not odd,
        "reason": f"unchanged pages differ in {', '.join(odd)}: the trigger misses something; read the plain"
        " comparison"
        if odd
        else "",
    }


def _metric(metric: Metric, cuts: Cuts, names: Pair, alpha: float) -> dict[str, Any]:
    by_search = (metric.numerator, metric.denominator) == ("clicks", "searches")
    cut = _by_search if by_search else _by_unit
    plain = compare(metric, cuts["whole"][names[0]], cuts["whole"][names[1]], names=names, alpha=alpha)
    found = {part: _part(metric, cuts, names, part, by_search, alpha) for part in ("changed", "same")}
    nothing = Comparison(
        metric=metric.name,
        control=names[0],
        treatment=names[1],
        n_control=plain.n_control,
        n_treatment=plain.n_treatment,
        control_value=plain.control_value,
        treatment_value=None,
    )
    base = estimate(metric, cuts["whole"][names[0]], variant=names[0])
    diluted, saved = nothing, None
    if base.value is not None and base.variance is not None and plain.difference_low is not None:
        change, variance, joint = cut(metric, cuts, names)
        moved = Estimate(
            count=plain.n_treatment,
            value=_sum(base.value, change),
            variance=max(_sum(base.variance, variance, 2 * joint), 0.0),
        )
        nothing = replace(nothing, treatment_value=moved.value)
        diluted = compare_estimates(nothing, base, moved, alpha=alpha, together=base.variance + joint)
        saved = _saved(plain, diluted)
    null = found["same"]["p_value"]
    return {
        "metric": metric.name,
        "title": metric.title,
        "cut_by": "search" if by_search else "unit",
        **found,
        "null_ok": null is None or null >= NULL_ALPHA,
        "plain": _short(asdict(plain)),
        "diluted": _short(asdict(diluted)),
        "variance_saved": saved,
    }


def _part(
    metric: Metric, cuts: Cuts, names: Pair, part: str, by_search: bool, alpha: float
) -> dict[str, Any]:
    samples = []
    for name in names:
        if by_search:
            sample: Moments | None = _renamed(cuts["parts"][name], part)
        else:
            sample = cuts.get(f"class:{part}", {}).get(name)
        if sample is None:
            return dict.fromkeys(_KEYS) | {"reason": "no units"}
        samples.append(sample)
    return _short(asdict(compare(metric, samples[0], samples[1], names=names, alpha=alpha)))


def _renamed(parts: Moments, part: str) -> Moments:
    """Only the searches and clicks of one stratum, under their plain names."""
    kept = [parts.columns.index(f"{what}_{part}") for what in ("searches", "clicks")]
    return Moments(
        columns=("searches", "clicks"),
        count=parts.count,
        means=tuple(parts.means[i] for i in kept),
        comoments=tuple(tuple(parts.comoments[i][j] for j in kept) for i in kept),
    )


def _by_search(metric: Metric, cuts: Cuts, names: Pair) -> tuple[float, float, float]:
    """The change of clicks per search, its variance, and its covariance with control's own value."""
    samples = [cuts["parts"][name] for name in names]
    at = {column: samples[0].columns.index(column) for column in samples[0].columns}
    n, m = (it.count for it in samples)

    def change(control: Vector, treatment: Vector) -> Vector:
        every = n * control[at["searches"]] + m * treatment[at["searches"]]
        moved = 0.0
        for part in _KEPT:
            top, below = at[f"clicks_{part}"], at[f"searches_{part}"]
            if not control[below].real or not treatment[below].real:
                continue
            share = (n * control[below] + m * treatment[below]) / every
            moved = moved + share * (treatment[top] / treatment[below] - control[top] / control[below])
        return np.array([moved, control[at["clicks"]] / control[at["searches"]]])

    values, covariance = propagate(change, *samples)
    return float(values[0]), float(covariance[0, 0]), float(covariance[0, 1])


def _by_unit(metric: Metric, cuts: Cuts, names: Pair) -> tuple[float, float, float]:
    """The same of a metric per unit: classes of units, each by its share of all units."""
    whole = [cuts["whole"][name] for name in names]
    column, below = column_of(metric), metric.denominator
    level = whole[0].mean(column) / (whole[0].mean(below) if below else 1.0)
    bases = [it.mean(below) if below else 1.0 for it in whole]
    every = sum(it.count for it in whole)
    moved = variance = joint = squares = 0.0
    for part in _KEPT:
        samples = [cuts.get(f"class:{part}", {}).get(name) for name in names]
        if any(it is None or it.count < 2 for it in samples):
            continue
        control, treatment = (_linear(it, column, below, level) for it in samples if it is not None)
        share = (control.count + treatment.count) / every
        gap = (treatment.value or 0.0) - (control.value or 0.0)
        moved += share * gap
        squares += share * gap**2
        variance += share**2 * ((control.variance or 0.0) + (treatment.variance or 0.0))
        joint -= share * control.count / whole[0].count * (control.variance or 0.0)
    variance += max(squares - moved**2, 0.0) / every  # the shares are counted, not known
    return moved / bases[1], variance / bases[1] ** 2, joint / bases[0] / bases[1]


def _linear(moments: Moments, column: str, below: str | None, level: float) -> Estimate:
    """The mean of column - level * below over units, and the variance of that mean."""
    value, spread = moments.mean(column), moments.covariance(column, column)
    if below is not None:
        value -= level * moments.mean(below)
        spread += level**2 * moments.covariance(below, below) - 2 * level * moments.covariance(column, below)
    return Estimate(count=moments.count, value=value, variance=max(spread, 0.0) / moments.count)


_KEYS = (
    "control_value",
    "treatment_value",
    "difference",
    "difference_low",
    "difference_high",
    "lift",
    "lift_low",
    "lift_high",
    "p_value",
    "reason",
)


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _KEYS}


def _sum(*terms: float) -> float:
    """Their sum; nothing where they cancel, as where a variant has lost all that control has.

    >>> _sum(0.1, 0.2, -0.3), _sum(0.1, 0.2, -0.3 + 1e-9) > 0
    (0.0, True)
    """
    total = sum(terms)
    return total if abs(total) > _ROUNDING * sum(map(abs, terms)) else 0.0


def _saved(plain: Comparison, diluted: Comparison) -> float | None:
    if None in (plain.difference_low, plain.difference_high, diluted.difference_low, diluted.difference_high):
        return None
    before = (plain.difference_high or 0.0) - (plain.difference_low or 0.0)
    after = (diluted.difference_high or 0.0) - (diluted.difference_low or 0.0)
    return 1 - (after / before) ** 2 if before else None


def _count(cut: Mapping[str, Moments], name: str) -> int:
    return cut[name].count if name in cut else 0


def _total(moments: Moments, column: str) -> int:
    return round(moments.mean(column) * moments.count)
