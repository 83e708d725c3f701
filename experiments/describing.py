"""What stands on the page beside the numbers: the definition, the dates, the conventions."""

from datetime import UTC, timedelta
from typing import Any

from .experiment import Experiment
from .explaining.bayes import PRIOR_SD
from .inference import ALPHA
from .looks import day_of
from .metrics import Aggregates, column_of
from .trust import SAMPLE_RATIO_ALPHA
from .verdict import Look


def describe(experiment: Experiment) -> dict[str, Any]:
    """The definition, as far as a reader of the page asks for it."""
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


def window_of(experiment: Experiment, aggregates: Aggregates, look: Look) -> dict[str, Any]:
    """From when to when, and which look of how many."""
    day = timedelta(days=1)
    return {
        "since": aggregates.since.astimezone(UTC).isoformat(),
        "until": aggregates.until.astimezone(UTC).isoformat(),
        "first_day": day_of(aggregates.since),
        "last_day": day_of(aggregates.until - timedelta(microseconds=1)),
        "days": -((aggregates.since - aggregates.until) // day),
        "planned_days": experiment.planned_looks * experiment.look_every_days,
        "looks_done": look.number,
        "planned_looks": look.planned,
        "is_last": look.is_last,
        "next_on": look.next_on,
        "bar": dict(look.bar),
    }


def conventions_of(experiment: Experiment, aggregates: Aggregates) -> list[str]:
    """How everything was worked out, a sentence each."""
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
