"""Aggregates to a result: everything the weekly page says, as plain JSON.

Pure: the same aggregates and definition give the same result. The page is
poured from it and adds no number of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .anytime import POWER, alpha_account, at_any_time
from .audit import check_errors
from .errors import InvalidData
from .experiment import Experiment, Metric
from .explaining.bayes import PRIOR_SD
from .explaining.findings import beside, explain
from .explaining.mixed_pages import design_of, mixed_pages
from .explaining.segments import check_segments
from .inference import ALPHA, Comparison, adjust, compare, estimate
from .metrics import Aggregates, Slice, column_of
from .sequential import Spending, bounds, nominal_alpha
from .signing import Held
from .trust import SAMPLE_RATIO_ALPHA, check_everything, check_plan
from .trust_cuts import check_cuts
from .verdict import Look, guard, of_a_mixture, verdict

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
    looks = {name: _look(experiment, aggregates, name) for name in _treatments(experiment)}
    comparisons = _compare_all(experiment, aggregates, aggregates.looks[-1], alpha=ALPHA)
    checks = [
        *check_everything(experiment, aggregates),
        *check_cuts(experiment, aggregates, comparisons),
        check_errors(experiment, aggregates, comparisons),
        *check_segments(experiment, aggregates),
        *([] if held is None else [check_plan(held)]),
    ]
    strict = _compare_all(
        experiment, aggregates, aggregates.looks[-1], alpha=_bar_by_time(experiment, aggregates)
    )
    guards = {metric.name for metric in experiment.metrics if metric.role == "guardrail"}
    verdicts = {
        name: verdict(
            checks,
            [
                stern if stern.metric in guards else plain
                for plain, stern in zip(comparisons, strict, strict=True)
                if plain.treatment == name
            ],
            experiment.metrics,
            look=look,
        )
        for name, look in looks.items()
    }
    mixed = {variant.name for variant in experiment.variants if design_of(variant) is not None}
    verdicts |= {name: of_a_mixture(verdicts[name]) for name in mixed & verdicts.keys()}
    # A page of two rankings is shown to choose between them: what may be shipped is named first.
    winner = min(verdicts, key=lambda name: (name in mixed, _BEST_FIRST.index(verdicts[name].word)))
    states = {
        (stern.treatment, stern.metric): guard(metric, stern)
        for stern in strict
        for metric in experiment.metrics
        if metric.name == stern.metric and metric.role == "guardrail"
    }
    time_gone = _times(experiment, aggregates.looks)[-1]
    sample_ratio = next(check for check in checks if check.name == "sample_ratio")
    return {
        "schema_version": 1,
        "experiment": _describe(experiment),
        "window": _window(experiment, aggregates, looks[winner])
        | {
            "alpha": alpha_account(time_gone, alpha=ALPHA),
            "pocock_bar": _bar_by_time(experiment, aggregates, "Pocock"),
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
            bar=_bar_by_time(experiment, aggregates),
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
        "conventions": _conventions(experiment, aggregates),
        "truth": dict(truth) if truth else None,
    }


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


def _times(experiment: Experiment, looks: Sequence[Slice]) -> list[float]:
    planned = experiment.planned_end - experiment.start
    return [(look.until - experiment.start) / planned for look in looks]


def _bar_by_time(
    experiment: Experiment, aggregates: Aggregates, spending: Spending = "O'Brien-Fleming"
) -> float:
    times = _times(experiment, aggregates.looks)
    return nominal_alpha(bounds(times, times, alpha=ALPHA, spending=spending)[-1])


def _look(experiment: Experiment, aggregates: Aggregates, treatment: str) -> Look:
    every = timedelta(days=experiment.look_every_days)
    number = (aggregates.until - experiment.start) // every
    following = min(number + 1, experiment.planned_looks)
    return Look(
        number=number,
        planned=experiment.planned_looks,
        is_last=aggregates.until >= experiment.planned_end,
        next_on=_day(experiment.start + following * every),
        bar={
            metric.name: _bar(experiment, aggregates, metric, treatment)
            for metric in experiment.metrics
            if metric.role == "primary"
        },
    )


def _bar(experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment: str) -> float:
    """What a primary metric's p-value must stay under at the last look; 0 if nothing is known yet."""
    times: list[float] = []
    known: list[float] = []
    for time, look in zip(_times(experiment, aggregates.looks), aggregates.looks, strict=True):
        information = _information(metric, look, (experiment.control, treatment))
        if information is None:
            continue
        times.append(time)
        # A later look knows at least as much; sampling noise in the variance may say otherwise.
        known.append(max(information, known[-1] * 1.0001) if known else information)
    if not times or times[-1] < _times(experiment, aggregates.looks)[-1]:
        return 0.0
    return nominal_alpha(bounds(times, [value / known[-1] for value in known], alpha=ALPHA)[-1])


def _information(metric: Metric, look: Slice, names: tuple[str, str]) -> float | None:
    variances = [
        estimate(metric, look.moments[name], variant=name).variance for name in names if name in look.moments
    ]
    total = sum(variance for variance in variances if variance is not None)
    return 1 / total if total > 0 and len(variances) == 2 and None not in variances else None


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
            "since": _day(week.since),
            "until": _day(week.until),
            "last_day": _day(week.until - timedelta(microseconds=1)),
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


def _describe(experiment: Experiment) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "hypothesis": experiment.hypothesis,
        "unit": experiment.unit,
        "phase": experiment.phase,
        "signature": experiment.signature,
        "traffic": experiment.traffic,
        "control": experiment.control,
        "layer": experiment.layer.name,
        "attribution_days": experiment.attribution_days,
        "variants": [
            {
                "name": variant.name,
                "share": variant.share,
                "channels": list(variant.plan.channels),
                "merge": variant.plan.merge,
            }
            for variant in experiment.variants
        ],
    }


def _window(experiment: Experiment, aggregates: Aggregates, look: Look) -> dict[str, Any]:
    day = timedelta(days=1)
    return {
        "since": aggregates.since.astimezone(UTC).isoformat(),
        "until": aggregates.until.astimezone(UTC).isoformat(),
        "first_day": _day(aggregates.since),
        "last_day": _day(aggregates.until - timedelta(microseconds=1)),
        "days": -((aggregates.since - aggregates.until) // day),
        "planned_days": experiment.planned_looks * experiment.look_every_days,
        "looks_done": look.number,
        "planned_looks": look.planned,
        "is_last": look.is_last,
        "next_on": look.next_on,
        "bar": dict(look.bar),
    }


def _conventions(experiment: Experiment, aggregates: Aggregates) -> list[str]:
    unit, looks, days = experiment.unit, experiment.planned_looks, experiment.attribution_days
    caps = [
        f"{metric.title}: a {unit}'s total above {aggregates.caps[column_of(metric)]:,.2f} counts as that;"
        f" it is the {metric.cap_quantile:.1%} quantile of the {unit}s who have any, all variants pooled."
        for metric in experiment.metrics
        if metric.cap_quantile is not None and column_of(metric) in aggregates.caps
    ]
    return [
        f"The {unit} is what was randomised and what is counted: a ratio such as click-through rate is"
        f" total clicks over total searches, with its variance over {unit}s (delta method).",
        f"A {unit} enters with the first search it was served in this experiment; an outcome counts if it"
        f" follows a served search within {days} days.",
        f"Lifts are relative to {experiment.control}, with {1 - ALPHA:.0%} intervals on the log-ratio scale;"
        " p-value and interval come from one statistic. Near zero: Fieller's interval.",
        "Normal quantiles above 1,000 degrees of freedom, Welch's t below.",
        "The verdict uses p-values corrected by Holm over the primary metrics, held against a bar that is"
        f" corrected for {looks} planned looks (Lan and DeMets, O'Brien-Fleming spending). The intervals"
        " shown are those of a single look.",
        "The interval that holds at any look is always valid (mixture of normals, tightest at the planned"
        " end): wider than the others, true however often one looks. It does not decide.",
        "Guardrails are judged at this look's strictness: safe if the whole interval is within the margin.",
        f"The sample ratio is Pearson's chi-square on the {unit}s served; below {SAMPLE_RATIO_ALPHA} no"
        " winner is named.",
        "Belief: a normal posterior on the log scale; the prior is centred on no effect, with a standard"
        f" deviation of {PRIOR_SD:.0%}.",
        "Noise that is saved is variance: of what was there before the start (CUPED), or of pages that did"
        " not change. Neither decides.",
        "Secondary metrics are not corrected for their number; they explain, they do not decide.",
        *caps,
    ]


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()
