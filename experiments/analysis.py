"""Aggregates to a result: everything the weekly page says, as plain JSON.

Pure: the same aggregates and definition give the same result. The page is
poured from it and adds no number of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from .anytime import POWER, alpha_account, at_any_time
from .audit import check_errors
from .describing import conventions_of, describe, window_of
from .errors import InvalidData
from .experiment import Experiment, Metric
from .explaining.findings import beside, explain
from .explaining.mixed_pages import design_of, mixed_pages
from .explaining.segments import check_segments
from .inference import ALPHA, Comparison, adjust, compare
from .looks import bar_by_time, day_of, look_of, times_gone
from .metrics import Aggregates, Slice
from .signing import Held
from .trust import Check, check_everything, check_plan
from .trust_cuts import check_cuts
from .verdict import Look, Verdict, guard, of_a_mixture, verdict

Result = dict[str, Any]

_BEST_FIRST = ("broken", "ship", "hold", "stop")


def analyse(
    experiment: Experiment,
    aggregates: Aggregates,
    *,
    truth: Mapping[str, float] | None = None,
    held: Held | None = None,
) -> Result:
    """The result as of the aggregates' end.

    Args:
        experiment: as it was when the logs were scanned.
        aggregates: of those logs.
        truth: the lifts that a simulation planted, by metric, to be shown beside the estimates.
        held: the definition against its signed plan; None where nobody asks for one.

    Raises:
        InvalidData: the aggregates are of another definition, or the truth names an unknown metric.
    """
    if aggregates.signature != experiment.signature:
        raise InvalidData(
            f"the aggregates follow definition {aggregates.signature}, but {experiment.name!r} is now"
            f" {experiment.signature}; scan the logs again"
        )
    unknown = sorted(set(truth or {}) - {metric.name for metric in experiment.metrics})
    if unknown:
        names = ", ".join(metric.name for metric in experiment.metrics)
        raise InvalidData(f"the truth names a metric {unknown[0]!r}; {experiment.name!r} has {names}")
    comparisons = _compare_all(experiment, aggregates, aggregates.looks[-1], alpha=ALPHA)
    strict = _compare_all(
        experiment, aggregates, aggregates.looks[-1], alpha=bar_by_time(experiment, aggregates)
    )
    checks = _check_all(experiment, aggregates, comparisons, held)
    looks = {name: look_of(experiment, aggregates, name) for name in _treatments(experiment)}
    verdicts = _decide(experiment, checks, comparisons, strict, looks)
    winner = _first_named(experiment, verdicts)
    states = {
        (stern.treatment, stern.metric): guard(metric, stern)
        for stern in strict
        for metric in experiment.metrics
        if metric.name == stern.metric and metric.role == "guardrail"
    }
    time_gone = times_gone(experiment, aggregates.looks)[-1]
    sample_ratio = next(check for check in checks if check.name == "sample_ratio")
    return {
        "schema_version": 1,
        "experiment": describe(experiment),
        "window": window_of(experiment, aggregates, looks[winner])
        | {
            "alpha": alpha_account(time_gone, alpha=ALPHA),
            "pocock_bar": bar_by_time(experiment, aggregates, "Pocock"),
        },
        "verdict": asdict(verdicts[winner]) | {"treatment": winner},
        "verdicts": [asdict(said) | {"treatment": name} for name, said in verdicts.items()],
        "sample_ratio": {"p_value": sample_ratio.figures["p_value"], "ok": sample_ratio.status == "ok"},
        "checks": [asdict(check) for check in checks],
        "comparisons": [
            _shown(experiment, found, states, truth or {})
            | {"unplanned": held is not None and found.metric in held.unplanned}
            | at_any_time(found, time_gone=min(time_gone, 1.0), alpha=ALPHA)
            | beside(experiment, aggregates, found, time_gone=time_gone, alpha=ALPHA)
            for found in comparisons
        ],
        **explain(experiment, aggregates, comparisons, alpha=ALPHA),
        "interleaving": mixed_pages(
            experiment,
            aggregates,
            comparisons,
            bar=bar_by_time(experiment, aggregates),
            is_last=looks[winner].is_last,
            is_broken=any(check.status == "fail" for check in checks),
            alpha=ALPHA,
        ),
        "looks": _series(experiment, aggregates),
        "arms": [asdict(arm) for arm in aggregates.arms],
        "caps": dict(aggregates.caps),
        "currency": aggregates.currencies[0] if len(aggregates.currencies) == 1 else "",
        "counts": asdict(aggregates.counts),
        "searches_per_day": {day: dict(found) for day, found in aggregates.searches_per_day.items()},
        "power": POWER,
        "conventions": conventions_of(experiment, aggregates),
        "truth": dict(truth) if truth else None,
    }


def _check_all(
    experiment: Experiment, aggregates: Aggregates, comparisons: Sequence[Comparison], held: Held | None
) -> list[Check]:
    return [
        *check_everything(experiment, aggregates),
        *check_cuts(experiment, aggregates, comparisons),
        check_errors(experiment, aggregates, comparisons),
        *check_segments(experiment, aggregates),
        *([] if held is None else [check_plan(held)]),
    ]


def _decide(
    experiment: Experiment,
    checks: Sequence[Check],
    comparisons: Sequence[Comparison],
    strict: Sequence[Comparison],
    looks: Mapping[str, Look],
) -> dict[str, Verdict]:
    """The verdict on each treatment; guardrails are judged at this look's strictness."""
    guards = {metric.name for metric in experiment.metrics if metric.role == "guardrail"}
    judged = [
        stern if stern.metric in guards else plain for plain, stern in zip(comparisons, strict, strict=True)
    ]
    verdicts = {
        name: verdict(checks, [it for it in judged if it.treatment == name], experiment.metrics, look=look)
        for name, look in looks.items()
    }
    return verdicts | {name: of_a_mixture(verdicts[name]) for name in _mixed(experiment) & verdicts.keys()}


def _first_named(experiment: Experiment, verdicts: Mapping[str, Verdict]) -> str:
    """A page of two rankings is shown to choose between them: what may be shipped is named first."""
    mixed = _mixed(experiment)
    return min(verdicts, key=lambda name: (name in mixed, _BEST_FIRST.index(verdicts[name].word)))


def _mixed(experiment: Experiment) -> set[str]:
    return {variant.name for variant in experiment.variants if design_of(variant) is not None}


def _treatments(experiment: Experiment) -> list[str]:
    return [variant.name for variant in experiment.variants if variant.name != experiment.control]


def _compare_all(
    experiment: Experiment, aggregates: Aggregates, look: Slice, *, alpha: float
) -> list[Comparison]:
    found = [
        _compare(experiment, aggregates, metric, look, treatment, alpha=alpha)
        for treatment in _treatments(experiment)
        for metric in experiment.metrics
    ]
    return adjust(found, experiment.metrics)


def _compare(
    experiment: Experiment,
    aggregates: Aggregates,
    metric: Metric,
    look: Slice,
    treatment: str,
    *,
    alpha: float,
) -> Comparison:
    names = (experiment.control, treatment)
    missing = [name for name in names if name not in look.moments]
    if missing:
        return _nothing(metric, names, f"{missing[0]} has no units")
    control, treated = (look.moments[name] for name in names)
    if metric.numerator == "revenue" and len(aggregates.currencies) > 1:
        reason = f"orders are in several currencies ({', '.join(aggregates.currencies)})"
        return replace(_nothing(metric, names, reason), n_control=control.count, n_treatment=treated.count)
    return compare(metric, control, treated, names=names, alpha=alpha)


def _nothing(metric: Metric, names: tuple[str, str], reason: str) -> Comparison:
    return Comparison(
        metric=metric.name,
        control=names[0],
        treatment=names[1],
        n_control=0,
        n_treatment=0,
        control_value=None,
        treatment_value=None,
        reason=reason,
    )


def _series(experiment: Experiment, aggregates: Aggregates) -> list[dict[str, Any]]:
    """Each look: everything since the start, and the stretch since the look before by itself."""
    kept = ("lift", "lift_low", "lift_high", "reason")
    every = timedelta(days=experiment.look_every_days)

    def lifts(part: Slice) -> dict[str, dict[str, Any]]:
        return {
            treatment: {
                metric.name: {name: getattr(found, name) for name in kept}
                for metric in experiment.metrics
                for found in [_compare(experiment, aggregates, metric, part, treatment, alpha=ALPHA)]
            }
            for treatment in _treatments(experiment)
        }

    return [
        {
            "number": number,
            "is_due": week.until - week.since == every,
            "since": day_of(week.since),
            "until": day_of(week.until),
            "last_day": day_of(week.until - timedelta(microseconds=1)),
            "since_start": lifts(look),
            "by_itself": lifts(week),
        }
        for number, (look, week) in enumerate(zip(aggregates.looks, aggregates.weeks, strict=True), start=1)
    ]


def _shown(
    experiment: Experiment,
    found: Comparison,
    states: Mapping[tuple[str, str], str],
    truth: Mapping[str, float],
) -> dict[str, Any]:
    metric = next(metric for metric in experiment.metrics if metric.name == found.metric)
    planted = truth.get(metric.name)
    inside = None
    if planted is not None and found.lift_low is not None and found.lift_high is not None:
        inside = found.lift_low <= planted <= found.lift_high
    return asdict(found) | {
        "title": metric.title,
        "role": metric.role,
        "good": metric.good,
        "shown_as": metric.shown_as,
        "margin": metric.margin,
        "margin_kind": metric.margin_kind,
        "guardrail": states.get((found.treatment, found.metric)),
        "truth": planted,
        "truth_inside": inside,
    }
