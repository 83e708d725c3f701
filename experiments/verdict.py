"""From checks and comparisons to one word: ship, hold, stop or broken.

broken   a trust check failed: no winner is named, whatever the numbers say
stop     harm is shown, or the last look came and no gain is shown
ship     a gain is shown and every guardrail is shown to be safe
hold     anything else: keep running
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from .experiment import Metric
from .inference import Comparison
from .trust import Check

Word = Literal["ship", "hold", "stop", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Which look this is, and how strict it is.

    Attributes:
        number: of planned looks; 0 before the first is due.
        is_last: whether the planned time is over.
        next_on: the day of the next one, as 2026-01-26.
        bar: the p-value that a primary metric must stay under, by metric.
    """

    number: int
    planned: int
    is_last: bool
    next_on: str
    bar: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One word, one sentence, and why."""

    word: Word
    headline: str
    reasons: tuple[str, ...]


def verdict(
    checks: Sequence[Check], comparisons: Sequence[Comparison], metrics: Sequence[Metric], *, look: Look
) -> Verdict:
    """Decide on one treatment.

    Args:
        checks: all of `trust`.
        comparisons: of this treatment with control; guardrails at this look's strictness.
        metrics: of the definition.
        look: which look this is.
    """
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        return Verdict(
            word="broken",
            headline="Do not read the results: the experiment itself is broken.",
            reasons=tuple(check.sentence for check in failed),
        )
    by_name = {comparison.metric: comparison for comparison in comparisons}
    primaries = [(metric, by_name[metric.name]) for metric in metrics if metric.role == "primary"]
    guards = [
        (metric, by_name[metric.name], guard(metric, by_name[metric.name]))
        for metric in metrics
        if metric.margin
    ]
    harmed = [
        metric
        for metric, comparison in primaries
        if _shown(comparison, look) and not _is_good(metric, comparison)
    ]
    gained = [
        metric
        for metric, comparison in primaries
        if _shown(comparison, look) and _is_good(metric, comparison)
    ]
    breached = [metric for metric, _, state in guards if state == "breached"]
    unclear = [metric for metric, _, state in guards if state == "unclear"]
    missing = [f"{metric.title}: {found.reason}." for metric, found in primaries if found.p_value is None]
    reasons = [
        _reason(metric, found, look) for metric, found in primaries if found.p_value is not None
    ] + missing
    reasons += [f"{metric.title} is worse by more than its margin." for metric in breached]
    reasons += [f"{metric.title} is not yet shown to stay within its margin." for metric in unclear]

    if harmed or breached:
        named = _names([*harmed, *breached])
        return Verdict(word="stop", headline=f"Stop: {named} got worse.", reasons=tuple(reasons))
    if gained and not unclear:
        return Verdict(word="ship", headline=f"Ship: {_names(gained)} improved.", reasons=tuple(reasons))
    if gained:
        return Verdict(
            word="hold",
            headline=f"Hold: {_names(gained)} improved, but {_names(unclear)} may have got worse.",
            reasons=tuple(reasons),
        )
    if look.is_last:
        return Verdict(
            word="stop",
            headline="Stop: the planned time is over and no gain is shown.",
            reasons=tuple(reasons),
        )
    return Verdict(
        word="hold",
        headline=f"Hold: keep it running; the next look is on {_date(look.next_on)}.",
        reasons=tuple(reasons),
    )


def of_a_mixture(found: Verdict) -> Verdict:
    """The verdict on a page of two rankings: its gain is no reason to ship either."""
    if found.word != "ship":
        return found
    gained = found.headline.removeprefix("Ship: ")
    return Verdict(
        word="hold",
        headline="Hold: the mixed page did better; test the new ranking alone before it is shipped.",
        reasons=(f"Of the page that mixes both rankings: {gained}", *found.reasons),
    )


def guard(metric: Metric, comparison: Comparison) -> Literal["safe", "unclear", "breached"]:
    """Whether a guardrail stays within its margin: surely, perhaps, or surely not."""
    relative = metric.margin_kind == "relative"
    low = comparison.lift_low if relative else comparison.difference_low
    high = comparison.lift_high if relative else comparison.difference_high
    if comparison.difference == 0 and comparison.p_value is None:
        return "safe"  # no variation at all, and the same in both
    if metric.margin is None or low is None or high is None:
        return "unclear"
    best, worst = (high, low) if metric.good == "up" else (-low, -high)
    if best < -metric.margin:
        return "breached"
    return "safe" if worst > -metric.margin else "unclear"


def _shown(comparison: Comparison, look: Look) -> bool:
    return comparison.p_adjusted is not None and comparison.p_adjusted <= look.bar.get(comparison.metric, 0.0)


def _is_good(metric: Metric, comparison: Comparison) -> bool:
    return ((comparison.difference or 0.0) > 0) is (metric.good == "up")


def _reason(metric: Metric, comparison: Comparison, look: Look) -> str:
    bar, p = look.bar.get(metric.name, 0.0), comparison.p_adjusted or 0.0
    moved = f"{comparison.lift:+.1%}" if comparison.lift is not None else "moved"
    compared = f"p = {p:.2g} passes" if p <= bar else f"p = {p:.2g} does not pass"
    return f"{metric.title} {moved}: {compared} this look's bar of {bar:.2g}."


def _date(day: str) -> str:
    when = date.fromisoformat(day)
    return f"{when.day} {when:%B %Y}"


def _names(metrics: Sequence[Metric]) -> str:
    return " and ".join(metric.title.lower() for metric in metrics)
