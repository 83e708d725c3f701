"""Checks of the numbers themselves, for logs and tables alike.

Were the variants alike before, does a tail have the units it needs, does one
unit decide alone, is a lift too good to be true?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from scipy import special

from .inference import Comparison, p_in_words
from .metrics import Moments, Shape
from .trust import SAMPLE_RATIO_ALPHA, Check

# A mean needs this many units per variant, times the square of its skewness,
# before a normal interval holds (Kohavi et al. 2014).
SKEWNESS_RULE = 355

# A single unit never moves a mean by much more than one standard error, however
# large: it widens the error as well. Half of one is a unit that decides alone.
INFLUENCE_LIMIT = 0.5

# A lift larger than this is more often a bug than a discovery (Twyman's law).
TWYMAN_LIFT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A metric's column in one variant: its shape, and its moments."""

    metric: str
    variant: str
    column: str
    shape: Shape
    moments: Moments


def check_balance(pairs: Sequence[tuple[str, Moments, Moments, str]]) -> Check:
    """Before the experiment the variants must not differ; pairs are (what, control, treatment, column)."""
    worst, where = 1.0, ""
    for what, control, treatment, column in pairs:
        p_value = difference_p(control, treatment, column)
        if p_value < worst:
            worst, where = p_value, what
    # Each pair is a chance to alarm: together they have one.
    worst = min(1.0, worst * max(len(pairs), 1))
    ok = worst >= SAMPLE_RATIO_ALPHA
    return Check(
        name="balance",
        title="Alike before",
        status="none" if not pairs else "ok" if ok else "fail",
        sentence="Nothing is known of before the experiment to compare the variants by."
        if not pairs
        else f"Before the experiment the variants were alike (the smallest: {p_in_words(worst)})."
        if ok
        else f"Before the experiment the variants already differed: {where} ({p_in_words(worst)}).",
        figures={"p_value": worst, "compared": len(pairs)},
    )


def difference_p(control: Moments, treatment: Moments, column: str) -> float:
    """The p-value that a column has one mean in both."""
    if min(control.count, treatment.count) < 2:
        return 1.0
    error = sqrt(sum(it.covariance(column, column) / it.count for it in (control, treatment)))
    if error == 0:
        return 1.0
    return float(2 * special.ndtr(-abs(control.mean(column) - treatment.mean(column)) / error))


def check_skewness(spreads: Sequence[Spread]) -> Check:
    """Enough units for the tail of every mean."""
    needed = {it: SKEWNESS_RULE * (it.shape.skewness or 0.0) ** 2 for it in spreads}
    worst: dict[str, tuple[float, int]] = {}
    for it, count in needed.items():
        if it.moments.count < count:
            worst[it.metric] = max(worst.get(it.metric, (0.0, 0)), (count, it.moments.count))
    short = [f"{metric} ({has:,} of {count:,.0f})" for metric, (count, has) in worst.items()]
    return Check(
        name="skewness",
        title="Enough for its tail",
        status="warn" if short else "ok" if spreads else "none",
        sentence=f"Fewer units per variant than a long tail asks for: {'; '.join(short)}. These intervals are"
        " rough; cap the metric before the next start, or run longer."
        if short
        else "Every mean has the units its skewness asks for."
        if spreads
        else "No metric is a mean over units.",
        figures={"units_needed": max(needed.values(), default=0.0)},
    )


def check_influence(pairs: Sequence[tuple[Spread, Spread]]) -> Check:
    """Whether one unit alone moves a difference by a good part of its standard error."""
    heavy: dict[str, None] = {}
    largest_move = 0.0
    for pair in pairs:
        if min(it.moments.count for it in pair) < 2:
            continue
        error = sqrt(sum(it.moments.covariance(it.column, it.column) / it.moments.count for it in pair))
        for it in pair:
            moved = (it.shape.largest - it.moments.mean(it.column)) / (it.moments.count - 1)
            if not error:
                continue
            largest_move = max(largest_move, moved / error)
            if moved > INFLUENCE_LIMIT * error:
                moves = f"moves {it.metric} by {moved / error:.1f} standard errors"
                heavy[f"The largest unit of {it.variant} {moves}"] = None
    return Check(
        name="influence",
        title="No unit decides alone",
        status="warn" if heavy else "ok" if pairs else "none",
        sentence=f"{'; '.join(heavy)}: cap the metric before the next start."
        if heavy
        else f"No single unit moves a mean by more than {largest_move:.2f} of its standard error."
        if pairs
        else "No metric is a mean over units.",
        figures={"standard_errors": largest_move},
    )


def check_twyman(found: Sequence[Comparison], titles: Mapping[str, str] | None = None) -> Check:
    """Whether a clear lift is larger than most that are real."""
    odd = [
        f"{(titles or {}).get(it.metric, it.metric)} in {it.treatment} {_signed(it.lift)}"
        for it in found
        if it.lift is not None and abs(it.lift) > TWYMAN_LIFT and it.p_value is not None and it.p_value < 0.01
    ]
    clear = [it.lift for it in found if it.lift is not None and it.p_value is not None and it.p_value < 0.01]
    largest = max(clear, key=abs, default=None)
    return Check(
        name="twyman",
        title="Not too good to be true",
        status="warn" if odd else "ok",
        sentence=f"Larger than most that are real: {', '.join(odd)}; look for a bug in the logs first."
        if odd
        else f"No clear change is larger than {TWYMAN_LIFT:.0%}: the largest is {_signed(largest)}."
        if largest is not None
        else "No change is clear.",
        figures={"lifts": len(odd)},
    )


def _signed(lift: float) -> str:
    return f"{lift:+.0%}".replace("-", "−")
