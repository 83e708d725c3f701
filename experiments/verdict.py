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
from .inference import Comparison, p_in_words
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
    reasons += [
        _guard_reason(metric, found, state)
        for wanted in ("breached", "unclear", "safe")
        for metric, found, state in guards
        if state == wanted
    ]

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
    if comparison.lift is not None and comparison.lift_low is not None and comparison.lift_high is not None:
        moved, *ends = (_signed(it) for it in (comparison.lift, comparison.lift_low, comparison.lift_high))
        between = f"plausibly {ends[0]} to {ends[1]}" if ends[0] != ends[1] else comparison.reason
    else:
        ends = [_plain(metric, it) for it in (comparison.difference_low, comparison.difference_high)]
        moved = _plain(metric, comparison.difference)
        between = f"plausibly {ends[0]} to {ends[1]}"
    compared = "more than chance would show" if p <= bar else "chance alone may show as much"
    return f"{metric.title} {moved}, {between}: {compared} ({p_in_words(p)}; at this look {asked(bar)})."


def asked(bar: float) -> str:
    """What a look asks of a p-value.

    >>> asked(0.0449), asked(1e-6)
    ('0.045 or less decides', 'only less than 0.0001 decides')
    """
    return f"{bar:.2g} or less decides" if bar >= 0.0001 else "only less than 0.0001 decides"


def _guard_reason(metric: Metric, comparison: Comparison, state: str) -> str:
    relative = metric.margin_kind == "relative"
    low = comparison.lift_low if relative else comparison.difference_low
    high = comparison.lift_high if relative else comparison.difference_high
    middle = comparison.lift if relative else comparison.difference
    margin = margin_in_words(metric.margin or 0.0, metric.margin_kind, metric.shown_as)
    ends = [_signed(it) if relative else _plain(metric, it) for it in (low, high) if it is not None]
    if len(ends) < 2 or middle is None:
        return f"{metric.title}: {comparison.reason or 'nothing to compare'}; its margin is {margin}."
    worst, best = ends if metric.good == "up" else reversed(ends)
    moved = _signed(middle) if relative else _plain(metric, middle)
    return {
        "breached": f"{metric.title} {moved}, at best {best}: worse by more than its margin of {margin}.",
        "unclear": f"{metric.title} {moved}, at worst {worst}: not yet shown to stay within its margin of"
        f" {margin}.",
        "safe": f"{metric.title} {moved}, at worst {worst}: stays within its margin of {margin}.",
    }[state]


def margin_in_words(margin: float, kind: str, shown_as: str) -> str:
    """A margin with its unit.

    >>> margin_in_words(0.02, "relative", "money"), margin_in_words(0.01, "absolute", "percent")
    ('2%', '1 points')
    """
    if kind == "relative":
        return f"{100 * margin:g}%"
    return (
        f"{100 * margin:g} points"
        if shown_as == "percent"
        else f"{margin:g} {_UNITS.get(shown_as, '')}".strip()
    )


_UNITS = {"ms": "ms"}


def _signed(lift: float) -> str:
    return f"{lift:+.1%}".replace("-", "−")


def _plain(metric: Metric, difference: float | None) -> str:
    """A difference in the metric's own unit."""
    if difference is None:
        return "–"
    if metric.shown_as == "percent":
        return f"{100 * difference:+.2f} points".replace("-", "−")
    return f"{difference:+,.2f} {_UNITS.get(metric.shown_as, '')}".strip().replace("-", "−")


def _date(day: str) -> str:
    when = date.fromisoformat(day)
    return f"{when.day} {when:%B %Y}"


def _names(metrics: Sequence[Metric]) -> str:
    return " and ".join(_in_mid_sentence(metric.title) for metric in metrics)


def _in_mid_sentence(title: str) -> str:
    """Without the capital that begins it; initials, such as CTR, keep theirs."""
    return " ".join(word if word.isupper() else word.lower() for word in title.split(" "))
