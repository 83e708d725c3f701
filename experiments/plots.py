"""Small drawings for the page, as inline SVG: no script, no font, no file.

Colours come from the page's style sheet, so that one drawing serves light and
dark. Each has its numbers beside it on the page; the drawing is for the eye.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

_WIDTH, _HEIGHT, _MARGIN = 240, 30, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A symmetric axis of lifts: from -reach to +reach, zero in the middle."""

    reach: float

    def x(self, lift: float, *, width: float = _WIDTH) -> float:
        """Where a lift is drawn; what lies outside sits at the edge."""
        inside = max(-self.reach, min(self.reach, lift))
        return round(width / 2 + inside / self.reach * (width / 2 - _MARGIN), 2)


def common_scale(comparisons: Sequence[Mapping[str, Any]]) -> Scale:
    """One axis for all rows: wide enough for the primary metrics, not for every outlier."""

    def reach(rows: Sequence[Mapping[str, Any]]) -> float:
        ends = [
            abs(row[end])
            for row in rows
            for end in ("lift_low", "lift_high", "truth")
            if row[end] is not None
        ]
        return max(ends, default=0.0)

    rows = [row for row in comparisons if row["margin_kind"] == "relative"]
    primary = reach([row for row in rows if row["role"] == "primary"])
    widest = reach(rows)
    return Scale(reach=1.05 * (min(widest, 4 * primary) or widest) or 0.01)


def interval(row: Mapping[str, Any], scale: Scale, *, tone: str) -> Markup:
    """A lift and its interval on the common axis, the planted truth as a diamond."""
    if row["lift"] is None or row["lift_low"] is None:
        return Markup("")
    low, high, middle = (scale.x(row[end]) for end in ("lift_low", "lift_high", "lift"))
    y = _HEIGHT / 2
    parts = [
        Markup('<line class="zero" x1="{0}" y1="2" x2="{0}" y2="{1}"/>').format(_WIDTH / 2, _HEIGHT - 2),
        Markup('<line class="bar {}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(tone, low, high, y=y),
    ]
    parts += [
        Markup('<path class="off {}" d="M{} {} l{} -5 v10 z"/>').format(tone, edge + 7 * way, y, -7 * way)
        for end, edge, way in (("lift_low", low, -1), ("lift_high", high, 1))
        if abs(row[end]) > scale.reach
    ]
    parts.append(Markup('<circle class="dot {}" cx="{}" cy="{}" r="5"/>').format(tone, middle, y))
    if row["truth"] is not None:
        parts.append(
            Markup('<path class="truth" d="M{} {} l6 7 l-6 7 l-6 -7 z"/>').format(
                scale.x(row["truth"]), y - 7
            )
        )
    return _svg(_WIDTH, _HEIGHT, f"{row['title']}: interval", parts)


def by_look(
    looks: Sequence[Mapping[str, Any]], metric: str, treatment: str, *, truth: float | None
) -> Markup:
    """The lift at each look: since the start (solid) and each stretch by itself (open)."""
    width, height, left, bottom = 620, 220, 64, 34
    found = [
        (look["number"], look["since_start"][treatment][metric], look["by_itself"][treatment][metric])
        for look in looks
    ]
    ends = [
        abs(lift[end])
        for _, *pair in found
        for lift in pair
        for end in ("lift_low", "lift_high")
        if lift[end] is not None
    ]
    if not ends:
        return Markup("")
    reach = 1.1 * max([*ends, abs(truth or 0.0)]) or 0.01
    half = (height - bottom) / 2 - 6

    def y(lift: float) -> float:
        return round((height - bottom) / 2 - lift / reach * half, 2)

    step = (width - left) / len(found)
    parts = [Markup('<line class="zero" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(left, width, y=y(0))]
    for tick in (-_nice(reach), 0.0, _nice(reach)):
        parts.append(
            Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>').format(
                left - 10, y(tick) + 5, f"{tick:+.1%}".replace("-", "−") if tick else "0"
            )
        )
    if truth is not None:
        parts.append(
            Markup('<line class="truth-line" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
                left, width, y=y(truth)
            )
        )
    for place, (number, since_start, by_itself) in enumerate(found):
        middle = left + step * (place + 0.5)
        parts.append(
            Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">look {}</text>').format(
                round(middle, 2), height - 10, number
            )
        )
        for lift, shift, tone in ((since_start, -9, "whole"), (by_itself, 9, "part")):
            if lift["lift"] is None or lift["lift_low"] is None:
                continue
            x = round(middle + shift, 2)
            parts.append(
                Markup('<line class="bar {}" x1="{x}" y1="{}" x2="{x}" y2="{}"/>').format(
                    tone, y(lift["lift_low"]), y(lift["lift_high"]), x=x
                )
            )
            parts.append(
                Markup('<circle class="dot {}" cx="{}" cy="{}" r="5"/>').format(tone, x, y(lift["lift"]))
            )
    return _svg(
        width,
        height,
        "Lift at each look, with intervals; the table below has the numbers",
        parts,
        kind="looks",
    )


def _nice(reach: float) -> float:
    """A round number a little inside the axis."""
    scale = 10.0**-6
    best = scale
    while scale <= reach:
        best = max(best, *(step * scale for step in (1, 2, 5) if step * scale <= 0.9 * reach), best)
        scale *= 10
    return best


def _svg(width: int, height: int, label: str, parts: Sequence[Markup], *, kind: str = "interval") -> Markup:
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        kind, width, height, label
    )
    return opening + Markup("").join(parts) + Markup("</svg>")
