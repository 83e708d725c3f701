"""Which look this is, and how strict it is: definition and aggregates to the bars of `sequential`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from .experiment import Experiment, Metric
from .inference import ALPHA, estimate
from .metrics import Aggregates, Slice
from .sequential import Spending, bounds, nominal_alpha
from .verdict import Look


def look_of(experiment: Experiment, aggregates: Aggregates, treatment: str) -> Look:
    """The look that the aggregates end with, for one treatment."""
    every = timedelta(days=experiment.look_every_days)
    number = (aggregates.until - experiment.start) // every
    following = min(number + 1, experiment.planned_looks)
    return Look(
        number=number,
        planned=experiment.planned_looks,
        is_last=aggregates.until >= experiment.planned_end,
        next_on=day_of(experiment.start + following * every),
        bar={
            metric.name: _bar(experiment, aggregates, metric, treatment)
            for metric in experiment.metrics
            if metric.role == "primary"
        },
    )


def bar_by_time(
    experiment: Experiment, aggregates: Aggregates, spending: Spending = "O'Brien-Fleming"
) -> float:
    """The p-value a look asks for where what is known grows as the planned time goes."""
    times = times_gone(experiment, aggregates.looks)
    return nominal_alpha(bounds(times, times, alpha=ALPHA, spending=spending)[-1])


def times_gone(experiment: Experiment, looks: Sequence[Slice]) -> list[float]:
    """The share of the planned time that is over at each look."""
    planned = experiment.planned_end - experiment.start
    return [(look.until - experiment.start) / planned for look in looks]


def day_of(moment: datetime) -> str:
    """The day of a moment, as 2026-02-02."""
    return moment.astimezone(UTC).date().isoformat()


def _bar(experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment: str) -> float:
    """What a primary metric's p-value must stay under at the last look; 0 if nothing is known yet."""
    times: list[float] = []
    known: list[float] = []
    for time, look in zip(times_gone(experiment, aggregates.looks), aggregates.looks, strict=True):
        information = _information(metric, look, (experiment.control, treatment))
        if information is None:
            continue
        times.append(time)
        # A later look knows at least as much; sampling noise in the variance may say otherwise.
        known.append(max(information, known[-1] * 1.0001) if known else information)
    if not times or times[-1] < times_gone(experiment, aggregates.looks)[-1]:
        return 0.0
    return nominal_alpha(bounds(times, [value / known[-1] for value in known], alpha=ALPHA)[-1])


def _information(metric: Metric, look: Slice, names: tuple[str, str]) -> float | None:
    variances = [
        estimate(metric, look.moments[name], variant=name).variance for name in names if name in look.moments
    ]
    total = sum(variance for variance in variances if variance is not None)
    return 1 / total if total > 0 and len(variances) == 2 and None not in variances else None
