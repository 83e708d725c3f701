"""The checks that need more than counts: was the split fair throughout, is a test of nothing quiet?

The sample ratio is asked again of everybody who was assigned, and at every
look so far at once; speed and gaps are held against each other; the units
that are there are split by lot, a thousand times.
"""

from collections.abc import Mapping, Sequence
from math import exp, log

import numpy as np
from scipy import special

from .experiment import Experiment, Metric
from .inference import Comparison, p_in_words
from .metrics import Aggregates, Moments, column_of
from .scan.buckets import unpack
from .tables.again import FEWEST_BUCKETS, p_values, say
from .tables.formula import Formula
from .trust import SAMPLE_RATIO_ALPHA, Check, Status, sample_ratio
from .trust_numbers import Spread, check_balance, check_influence, check_skewness, check_twyman

# How sure the sequential test is beforehand that a fault in the ratio would be a small one.
_PRIOR_UNITS = 100.0

# A variant that is this much slower at its 95th percentile, and by this many ms, is slower for shoppers.
SLOWER, SLOWER_MS = 1.5, 25.0

# More answers without a planned channel than this, over control's share, and part of the effect is missing.
TIMEOUTS_APART = 0.02

# Splits of nothing: 5% of a thousand is 50, give or take 7.
SPLITS, SPLITS_SEED = 1_000, 7
ALARMS_FAIL = 0.10


def check_cuts(experiment: Experiment, aggregates: Aggregates, found: Sequence[Comparison]) -> list[Check]:
    """The checks that come after `check_everything`."""
    whole = aggregates.cuts["whole"]
    spreads = {
        (metric.name, variant): Spread(
            metric=metric.title,
            variant=variant,
            column=column_of(metric),
            shape=aggregates.shapes[variant][column_of(metric)],
            moments=moments,
        )
        for metric in experiment.metrics
        if metric.denominator is None
        for variant, moments in whole.items()
        if column_of(metric) in moments.columns
    }
    # A raw mean that is shown beside its capped self is there to be looked at, and is not asked to behave.
    capped = {metric.numerator for metric in experiment.metrics if metric.cap_quantile is not None}
    asked = {
        metric.name
        for metric in experiment.metrics
        if metric.role == "primary" or metric.cap_quantile is not None or metric.numerator not in capped
    }
    # Times are no wonder: asking a channel takes some, where there was next to none.
    wondrous = {metric.name: metric.title for metric in experiment.metrics if metric.shown_as != "ms"}
    return [
        _assigned(experiment, aggregates),
        _at_every_look(experiment, aggregates),
        check_balance(_before(experiment, whole)),
        _splits(experiment, aggregates),
        _speed(experiment, aggregates),
        check_skewness([it for (name, _), it in spreads.items() if name in asked]),
        check_influence(
            [
                (spreads[it.metric, it.control], spreads[it.metric, it.treatment])
                for it in found
                if it.metric in asked
                and (it.metric, it.control) in spreads
                and (it.metric, it.treatment) in spreads
            ]
        ),
        check_twyman([it for it in found if it.metric in wondrous], wondrous),
    ]


def sequential_ratio(looks: Sequence[Mapping[str, int]], shares: Mapping[str, float]) -> float:
    """A p-value that units fall as planned, true however often it is asked (Lindon and Malek 2022).

    The evidence at a look is how much better the counts are foretold by shares
    that are not known than by the planned ones (a Dirichlet prior around them);
    the most there ever was counts.
    """
    prior = np.array([_PRIOR_UNITS * share for share in shares.values()])
    most = 0.0
    for units in looks:
        counts = np.array([units.get(name, 0) for name in shares], dtype=float)
        free = _log_beta(prior + counts) - _log_beta(prior)
        planned = sum(
            count * log(share) for count, share in zip(counts, shares.values(), strict=True) if count
        )
        most = max(most, free - planned)
    return exp(-most)


def _log_beta(weights: np.ndarray) -> float:
    return float(special.gammaln(weights).sum() - special.gammaln(weights.sum()))


def _shares(experiment: Experiment) -> dict[str, float]:
    return {variant.name: variant.share for variant in experiment.variants}


def _assigned(experiment: Experiment, aggregates: Aggregates) -> Check:
    p_value = sample_ratio(aggregates.assigned, _shares(experiment))
    ok = p_value >= SAMPLE_RATIO_ALPHA
    counted = ", ".join(f"{name} {aggregates.assigned.get(name, 0):,}" for name in _shares(experiment))
    whom = (
        "With those who are left out below, each in the first variant it was served"
        if aggregates.counts.crossed_units
        else f"Nobody is left out for being served both; {experiment.unit}s assigned"
    )
    return Check(
        name="sample_ratio_assigned",
        title="Sample ratio of all assigned",
        status="ok" if ok else "fail",
        sentence=f"{whom}: {counted}. "
        + ("As planned" if ok else "Not as planned: the fault is in the assignment or in what is logged")
        + f" ({p_in_words(p_value)}).",
        figures={"p_value": p_value},
    )


def _at_every_look(experiment: Experiment, aggregates: Aggregates) -> Check:
    looks = [{name: moments.count for name, moments in look.moments.items()} for look in aggregates.looks]
    p_value = sequential_ratio(looks, _shares(experiment))
    ok = p_value >= SAMPLE_RATIO_ALPHA
    return Check(
        name="sample_ratio_sequential",
        title="Sample ratio at every look",
        status="ok" if ok else "fail",
        sentence=f"Asked at each of {len(looks)} looks and corrected for that, the ratio"
        + (" was as planned" if ok else " was off at least once: find the day it began")
        + f" ({p_in_words(p_value)}).",
        figures={"p_value": p_value, "looks": len(looks)},
    )


def _before(experiment: Experiment, whole: Mapping[str, Moments]) -> list[tuple[str, Moments, Moments, str]]:
    control = whole.get(experiment.control)
    if control is None:
        return []
    return [
        (f"{column.removesuffix('_before')} between {experiment.control} and {name}", control, it, column)
        for name, it in whole.items()
        if name != experiment.control
        for column in it.columns
        if column.endswith("_before") and (control.mean(column) or it.mean(column))
    ]


def _splits(experiment: Experiment, aggregates: Aggregates) -> Check:
    """A/A tests of the primary metrics, on the very units of this experiment."""
    rng = np.random.default_rng(SPLITS_SEED)
    sentences, figures = [], {"splits": float(SPLITS)}
    worst: Status = "ok"
    for metric in experiment.metrics:
        buckets = _pooled(metric, aggregates) if metric.role == "primary" else []
        if len(buckets) < FEWEST_BUCKETS or not any(it.means[0] for it in buckets):
            continue
        formula = Formula(
            name=metric.name,
            kind="ratio" if metric.denominator else "mean",
            column="y",
            below="d" if metric.denominator else None,
        )
        told = say(p_values(formula, buckets, runs=SPLITS, rng=rng))
        alarms = float(told["false_alarms"])
        figures |= {f"alarms_{metric.name}": alarms, f"uniform_p_{metric.name}": float(told["uniform_p"])}
        sentences.append(f"{metric.title} {alarms:.1%}")
        worst = "fail" if alarms > ALARMS_FAIL else "warn" if not told["ok"] and worst == "ok" else worst
    if not sentences:
        worst, sentence = "none", f"Too few {experiment.unit}s to split by lot."
    else:
        sentence = (
            f"{experiment.unit.capitalize()}s split by lot {SPLITS:,} times, nothing differing, alarm at 5%:"
            f" {', '.join(sentences)}."
        ) + ("" if worst == "ok" else " The p-values are not what they say.")
    return Check(
        name="a_a",
        title="A test of nothing stays quiet",
        status=worst,
        sentence=sentence,
        figures=figures,
    )


def _pooled(metric: Metric, aggregates: Aggregates) -> list[Moments]:
    """The metric's buckets, all variants together."""
    wanted = [column_of(metric), *([metric.denominator] if metric.denominator else [])]
    pooled: dict[int, Moments] = {}
    for packed in aggregates.buckets.values():
        for place, it in unpack(packed).items():
            if any(column not in it.columns for column in wanted):
                return []
            at = [it.columns.index(column) for column in wanted]
            mine = Moments(
                columns=("y", "d")[: len(at)],
                count=it.count,
                means=tuple(it.means[i] for i in at),
                comoments=tuple(tuple(it.comoments[i][j] for j in at) for i in at),
            )
            pooled[place] = pooled[place] + mine if place in pooled else mine
    return [pooled[place] for place in sorted(pooled)]


def _speed(experiment: Experiment, aggregates: Aggregates) -> Check:
    """Slow or missing answers in one variant change what shoppers do, whatever was recalled."""
    arms = {arm.variant: arm for arm in aggregates.arms}
    control = arms[experiment.control]
    odd = []
    for name, arm in arms.items():
        ours, theirs = control.latency_p95_ms, arm.latency_p95_ms
        if ours is not None and theirs is not None and theirs > max(SLOWER * ours, ours + SLOWER_MS):
            odd.append(f"{name} is slower (p95 {theirs:,.0f} ms against {ours:,.0f} ms)")
        apart = (arm.degraded_share or 0.0) - (control.degraded_share or 0.0)
        if apart > TIMEOUTS_APART:
            odd.append(f"{name} has {apart:.1%} more answers without a planned channel")
    speeds = ", ".join(
        f"{name} {arm.latency_p95_ms:,.0f} ms at the 95th percentile"
        for name, arm in arms.items()
        if arm.latency_p95_ms is not None
    )
    return Check(
        name="speed",
        title="Alike in speed",
        status="warn" if odd else "ok",
        sentence=f"{'; '.join(odd)}: part of the effect is that, not what was recalled."
        if odd
        else "No variant is much slower than control, and none lacks many answers"
        + (f": {speeds}." if speeds else "; the logs hold no times."),
        figures={f"p95_ms_{name}": arm.latency_p95_ms for name, arm in arms.items()},
    )
