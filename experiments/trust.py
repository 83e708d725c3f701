"""May these numbers be believed at all? Asked before anything is read off them.

A failed check means that the experiment itself is broken: no winner is named,
whatever the intervals say. A warning is shown and leaves the verdict alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from scipy import stats

from .experiment import Experiment
from .inference import p_in_words
from .metrics import Aggregates, Arm
from .signing import Held

Status = Literal["ok", "warn", "fail", "none"]  # none: there was nothing to ask it of

# Strict, because it is asked every week of every experiment (Fabijan et al. 2019).
SAMPLE_RATIO_ALPHA = 0.001

# Units served two variants are left out. More than this, and who is left is no longer a fair sample.
CROSSED_LIMIT = 0.01

# Above these shares something upstream deserves a look, but the comparison stands.
REPEATS_LIMIT = 0.05
STRAY_OUTCOMES_LIMIT = 0.05
EARLY_OUTCOMES_LIMIT = 0.01
DEGRADED_LIMIT = 0.05

# With fewer units in a variant an interval on skewed revenue is a rough guide.
FEW_UNITS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, its answer in words, and the numbers behind it."""

    name: str
    title: str
    status: Status
    sentence: str
    figures: Mapping[str, float | int | None] = field(default_factory=dict)


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """The p-value of Pearson's chi-square that units fell to variants as planned; an empty arm counts."""
    total = sum(counts.get(name, 0) for name in shares)
    if total == 0:
        return 1.0
    observed = [counts.get(name, 0) for name in shares]
    return float(stats.chisquare(observed, [total * share for share in shares.values()]).pvalue)


def check_sample_ratio(
    units: Mapping[str, int], shares: Mapping[str, float], *, who: str = "Units", lost: str
) -> Check:
    """Whether units fell to variants as planned.

    Args:
        units: how many, by variant; one that is not named has none.
        shares: planned, by variant.
        who: the units, as the sentence begins.
        lost: what may be lacking where they did not, as `logs` or `rows`.
    """
    p_value = sample_ratio(units, shares)
    ok = p_value >= SAMPLE_RATIO_ALPHA
    counts = {name: units.get(name, 0) for name in shares}
    total = sum(counts.values())
    found = ", ".join(
        f"{name} {count:,} ({count / total if total else 0:.2%}, planned {shares[name]:.2%})"
        for name, count in counts.items()
    )
    answer = (
        "As planned" if ok else f"Not as planned: find out why (lost {lost}, crashes, bots) before reading on"
    )
    return Check(
        name="sample_ratio",
        title="Sample ratio",
        status="ok" if ok else "fail",
        sentence=f"{who}: {found}. {answer} ({p_in_words(p_value)}).",
        figures={"p_value": p_value, **{f"units_{name}": count for name, count in counts.items()}},
    )


def check_everything(experiment: Experiment, aggregates: Aggregates) -> list[Check]:
    """All checks, the gravest first."""
    return [
        _sample_ratio(experiment, aggregates),
        _planned_variants(aggregates),
        _crossed_units(experiment, aggregates),
        _days(experiment, aggregates),
        _stray_outcomes(experiment, aggregates),
        _clocks(aggregates),
        _repeats(aggregates),
        _degraded(experiment, aggregates),
        _currencies(aggregates),
        _few_units(experiment, aggregates),
    ]


def check_plan(held: Held) -> Check:
    """Whether what is shown is what was written down before the start."""
    if held.signed_at is None:
        status: Status = "none"
        sentence = (
            "Nobody signed the definition, so nothing else says what was decided before the start. For the"
            " next one: python -m experiments plan NAME --like THIS --start DAY --out FOLDER."
        )
    else:
        when = f"The plan was signed on {held.signed_at.date().isoformat()}"
        late = not held.in_time
        changes = [*held.graver, *held.lighter]
        status = "fail" if held.graver else "warn" if changes or late else "ok"
        sentence = when + (", after the start" if late else ", before the start")
        sentence += f"; since then {'; '.join(changes)}." if changes else " and holds."
    return Check(
        name="plan",
        title="As planned",
        status=status,
        sentence=sentence,
        figures={"changes": len(held.graver) + len(held.lighter)},
    )


def _sample_ratio(experiment: Experiment, aggregates: Aggregates) -> Check:
    return check_sample_ratio(
        {arm.variant: arm.units for arm in aggregates.arms},
        {variant.name: variant.share for variant in experiment.variants},
        who=f"{experiment.unit.capitalize()}s served",
        lost="logs",
    )


def _planned_variants(aggregates: Aggregates) -> Check:
    strangers = aggregates.counts.exposures_of_unplanned_variants
    named = ", ".join(f"{name!r} (searches: {count:,})" for name, count in strangers.items())
    return Check(
        name="planned_variants",
        title="Variants in the logs",
        status="fail" if strangers else "ok",
        sentence=f"The logs hold variants that are not in the definition: {named}; they are left out."
        if strangers
        else "The logs hold the defined variants and no other.",
        figures={"searches": sum(strangers.values())},
    )


def _crossed_units(experiment: Experiment, aggregates: Aggregates) -> Check:
    crossed, units = aggregates.counts.crossed_units, aggregates.counts.units
    share = crossed / units if units else 0.0
    if crossed == 0:
        status: Status = "ok"
    else:
        status = "fail" if share > CROSSED_LIMIT else "warn"
    return Check(
        name="crossed_units",
        title="One variant each",
        status=status,
        sentence=f"{crossed:,} of {units:,} {experiment.unit}s were served more than one variant"
        f" ({share:.2%}); they are left out, and more than {CROSSED_LIMIT:.0%} would break the comparison."
        if crossed
        else f"Each of the {units:,} {experiment.unit}s was served one variant only.",
        figures={"crossed_units": crossed, "units": units},
    )


def _days(experiment: Experiment, aggregates: Aggregates) -> Check:
    days = (aggregates.until - aggregates.since + timedelta(hours=23, minutes=59)) // timedelta(days=1)
    dates = [(aggregates.since + timedelta(days=day)).date().isoformat() for day in range(days)]
    found = aggregates.searches_per_day
    silent = [date for date in dates if date not in found]
    names = [variant.name for variant in experiment.variants]
    # One arm silent on a busy day is a fault; on a quiet day it is chance.
    lopsided = [
        date
        for date in dates
        if date not in silent
        and sum(found[date].values()) >= 100
        and any(not found[date].get(n) for n in names)
    ]
    if lopsided:
        sentence = f"On {_some(lopsided)} a variant served nothing while another did."
    elif silent:
        sentence = f"No searches on {len(silent)} of {days} days: {_some(silent)}."
    else:
        sentence = f"Searches on each of the {days} days."
    return Check(
        name="days",
        title="Every day is there",
        status="fail" if lopsided else "warn" if silent else "ok",
        sentence=sentence,
        figures={"days": days, "silent_days": len(silent), "lopsided_days": len(lopsided)},
    )


def _stray_outcomes(experiment: Experiment, aggregates: Aggregates) -> Check:
    counts = aggregates.counts
    strays = counts.outcomes_without_exposure
    considered = counts.outcome_rows - counts.outcome_repeats - counts.outcomes_outside_window
    share = strays / considered if considered else 0.0
    whole = experiment.traffic == 1
    return Check(
        name="outcomes_without_exposure",
        title="Outcomes have a search",
        status="warn" if whole and share > STRAY_OUTCOMES_LIMIT else "ok",
        sentence=f"{strays:,} of {considered:,} outcomes ({share:.1%}) are of {experiment.unit}s who were"
        f" never served; they are left out."
        + ("" if whole else f" Expected, as {experiment.traffic:.0%} take part."),
        figures={"outcomes_without_exposure": strays, "outcomes": considered},
    )


def _clocks(aggregates: Aggregates) -> Check:
    counts = aggregates.counts
    early, all_of_units = (
        counts.outcomes_before_exposure,
        counts.outcomes_before_exposure + counts.outcomes_counted,
    )
    share = early / all_of_units if all_of_units else 0.0
    return Check(
        name="clocks",
        title="Outcomes come after searches",
        status="warn" if share > EARLY_OUTCOMES_LIMIT else "ok",
        sentence=f"{early:,} outcomes come before the first search of their unit and are left out;"
        f" {counts.outcomes_too_late:,} come after the attribution window.",
        figures={"outcomes_before_exposure": early, "outcomes_too_late": counts.outcomes_too_late},
    )


def _repeats(aggregates: Aggregates) -> Check:
    counts = aggregates.counts
    repeats, rows = (
        counts.exposure_repeats + counts.outcome_repeats,
        counts.exposure_rows + counts.outcome_rows,
    )
    share = repeats / rows if rows else 0.0
    return Check(
        name="repeats",
        title="Repeated events",
        status="warn" if share > REPEATS_LIMIT else "ok",
        sentence=f"{repeats:,} of {rows:,} rows repeat an event ({share:.2%}); each event counts once.",
        figures={"repeats": repeats, "rows": rows},
    )


def _degraded(experiment: Experiment, aggregates: Aggregates) -> Check:
    shares = {arm.variant: arm.degraded_share or 0.0 for arm in aggregates.arms}
    worst = max(shares.values())
    shown = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
    return Check(
        name="degraded",
        title="Answers were complete",
        status="warn" if worst > DEGRADED_LIMIT else "ok",
        sentence=f"Searches answered without a planned channel: {shown}."
        " They stay in their variant, so a high share hides part of the effect.",
        figures={f"degraded_{name}": share for name, share in shares.items()},
    )


def _currencies(aggregates: Aggregates) -> Check:
    named = [currency or "(none named)" for currency in aggregates.currencies]
    return Check(
        name="currencies",
        title="One currency",
        status="warn" if len(named) > 1 else "ok",
        sentence=f"Orders are in {', '.join(named)}: revenue is not added up; convert it before it is logged."
        if len(named) > 1
        else f"All revenue is in {named[0]}."
        if named
        else "No order carries revenue.",
        figures={"currencies": len(named)},
    )


def _few_units(experiment: Experiment, aggregates: Aggregates) -> Check:
    smallest: Arm = min(aggregates.arms, key=lambda arm: arm.units)
    few = smallest.units < FEW_UNITS
    return Check(
        name="few_units",
        title="Enough to go on",
        status="warn" if few else "ok",
        sentence=f"The smallest variant has {smallest.units:,} {experiment.unit}s"
        + (f"; below {FEW_UNITS:,}, intervals on revenue are a rough guide." if few else "."),
        figures={"smallest": smallest.units},
    )


def _some(dates: list[str]) -> str:
    return ", ".join(dates[:3]) + (f" and {len(dates) - 3} more" if len(dates) > 3 else "")
