"""What explains a result: everything on the page that decides nothing.

Each part is worked out from the aggregates by a file of its own; here they are
put side by side for every treatment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from experiments.experiment import Experiment, Metric
from experiments.inference import Comparison, compare, compare_estimates
from experiments.metrics import Aggregates, Moments, column_of
from experiments.tables.adjustment import adjust_by_covariate

from .attribution import channel_parts
from .baskets import revenue_parts
from .bayes import PRIOR_SD, posterior
from .clusters import by_cluster
from .novelty import by_age
from .outlook import outlook, since_last_look
from .segments import by_segment
from .triggers import trigger_analysis

_WEEK = timedelta(days=7)


def explain(
    experiment: Experiment, aggregates: Aggregates, found: Sequence[Comparison], *, alpha: float
) -> dict[str, Any]:
    """The sections by name, each a list with one entry per treatment."""
    control = experiment.control
    treatments = [variant.name for variant in experiment.variants if variant.name != control]
    return {
        "changed_pages": [trigger_analysis(experiment, aggregates, name, alpha=alpha) for name in treatments],
        "channels": [channel_parts(aggregates, control, name, alpha=alpha) for name in treatments],
        "revenue_parts": [revenue_parts(aggregates, control, name, alpha=alpha) for name in treatments],
        "by_age": [by_age(aggregates, control, name, alpha=alpha) for name in treatments],
        "by_query": [by_cluster(aggregates, control, name, alpha=alpha) for name in treatments],
        "segments": [by_segment(experiment, aggregates, name, alpha=alpha) for name in treatments],
        "since_last_look": _since_last_look(experiment, aggregates, found, alpha=alpha),
        "prior_sd": PRIOR_SD,
    }


def beside(
    experiment: Experiment, aggregates: Aggregates, found: Comparison, *, time_gone: float, alpha: float
) -> dict[str, Any]:
    """What stands beside one comparison: adjusted by what was before, as a belief, and what is to come."""
    metric = next(metric for metric in experiment.metrics if metric.name == found.metric)
    shown: dict[str, Any] = {
        "adjusted": _adjusted(metric, aggregates, found, alpha=alpha),
        "belief": posterior(found),
        "outlook": None,
    }
    if metric.role == "primary":
        times = [(look + 1) / experiment.planned_looks for look in range(experiment.planned_looks)]
        length = experiment.planned_end - experiment.start
        shown["outlook"] = outlook(
            found, time_gone=min(time_gone, 1.0), times=times, planned_weeks=length / _WEEK, alpha=alpha
        )
    return shown


def _adjusted(
    metric: Metric, aggregates: Aggregates, found: Comparison, *, alpha: float
) -> dict[str, Any] | None:
    """The same comparison by CUPED, where the archive knows what the units did before the start."""
    covariate = f"{metric.numerator}_before"
    pair = [
        _letters(metric, aggregates.cuts["whole"].get(name), covariate)
        for name in (found.control, found.treatment)
    ]
    control, treatment = pair
    if control is None or treatment is None or found.difference_low is None:
        return None
    both = adjust_by_covariate(control, treatment)
    if isinstance(both, str):
        return None
    blank = Comparison(
        metric=found.metric,
        control=found.control,
        treatment=found.treatment,
        n_control=found.n_control,
        n_treatment=found.n_treatment,
        control_value=both.control.value,
        treatment_value=both.treatment.value,
    )
    after = compare_estimates(blank, both.control, both.treatment, alpha=alpha, together=both.together)
    kept = ("difference", "difference_low", "difference_high", "lift", "lift_low", "lift_high", "p_value")
    return {name: asdict(after)[name] for name in kept} | {
        "covariate": covariate,
        "variance_saved": both.variance_saved,
    }


def _letters(metric: Metric, moments: Moments | None, covariate: str) -> Moments | None:
    """The columns that `adjustment` knows: y, over d where there is one, and x."""
    wanted = {"y": column_of(metric), "d": metric.denominator, "x": covariate}
    named = {letter: column for letter, column in wanted.items() if column is not None}
    if moments is None or moments.count < 2 or any(it not in moments.columns for it in named.values()):
        return None
    at = [moments.columns.index(column) for column in named.values()]
    if metric.denominator is not None and moments.mean(metric.denominator) == 0:
        return None
    return Moments(
        columns=tuple(named),
        count=moments.count,
        means=tuple(moments.means[i] for i in at),
        comoments=tuple(tuple(moments.comoments[i][j] for j in at) for i in at),
    )


def _since_last_look(
    experiment: Experiment, aggregates: Aggregates, found: Sequence[Comparison], *, alpha: float
) -> dict[str, Any] | None:
    if len(aggregates.looks) < 2 or len(aggregates.currencies) > 1:
        return None
    late, early = aggregates.looks[-1], aggregates.looks[-2]
    metrics: Mapping[str, Metric] = {metric.name: metric for metric in experiment.metrics}
    before = []
    for it in found:
        if it.control not in early.moments or it.treatment not in early.moments:
            before.append(replace(it, lift=None))
            continue
        names = (it.control, it.treatment)
        before.append(
            compare(metrics[it.metric], *(early.moments[name] for name in names), names=names, alpha=alpha)
        )
    days = -((early.until - late.until) // timedelta(days=1))
    last_day = (early.until - timedelta(microseconds=1)).date().isoformat()
    return since_last_look(found, before, days=days, last_day=last_day)
