"""Small drawings for the page, as inline SVG: no script, no font, no file.

Colours come from the page's style sheet, so that one drawing serves light and
dark. Each has its numbers beside it on the page; the drawing is for the eye.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
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


def scale_of(rows: Sequence[Mapping[str, Any]]) -> Scale:
    """One axis for rows that are all lifts, wide enough for their intervals but the widest outliers."""
    ends = sorted(
        max(abs(row["lift_low"]), abs(row["lift_high"])) for row in rows if row["lift_low"] is not None
    )
    middle = ends[len(ends) // 2] if ends else 0.0
    return Scale(reach=1.05 * min(ends[-1], 3 * middle) if middle else 0.01)


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
    if row.get("truth") is not None:
        parts.append(
            Markup('<path class="truth" d="M{} {} l6 7 l-6 7 l-6 -7 z"/>').format(
                scale.x(row["truth"]), y - 7
            )
        )
    return _svg(_WIDTH, _HEIGHT, f"{row['title']}: interval", parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where lifts go in the drawing of looks: zero is always in it, room for labels left and below."""

    low: float
    high: float
    columns: int
    width: int = 620
    height: int = 220
    left: int = 64
    bottom: int = 34

    def x(self, place: int) -> float:
        return round(self.left + (self.width - self.left) / self.columns * (place + 0.5), 2)

    def y(self, lift: float) -> float:
        room = self.height - self.bottom - 12
        return round(6 + (self.high - lift) / (self.high - self.low) * room, 2)

    @classmethod
    def around(cls, lifts: Sequence[float], *, columns: int) -> "_Frame":
        """Wide enough for these, and for zero."""
        low, high = min(0.0, *lifts), max(0.0, *lifts)
        rest = 0.05 * (high - low) or 0.01
        return cls(low=low - rest, high=high + rest, columns=columns)

    def ticks(self) -> list[Markup]:
        """A line at zero, and labels at round lifts."""
        step = _nice((self.high - self.low) / 2)
        levels = [count * step for count in range(-8, 9) if self.low <= count * step <= self.high]
        digits = 0 if step >= 0.01 else 1
        labels = [f"{lift:+.{digits}%}".replace("-", "−") if lift else "0" for lift in levels]
        return [
            self.level(0, "zero"),
            *(
                self.text(self.left - 10, self.y(lift) + 5, "end", label)
                for lift, label in zip(levels, labels, strict=True)
            ),
        ]

    def level(self, lift: float, kind: str) -> Markup:
        return Markup('<line class="{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
            kind, self.left, self.width, y=self.y(lift)
        )

    def text(self, x: float, y: float, anchor: str, text: str) -> Markup:
        return Markup('<text class="axis" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            x, y, anchor, text
        )

    def whisker(self, x: float, lift: Mapping[str, Any], kind: str) -> Markup:
        if lift["lift"] is None or lift["lift_low"] is None:
            return Markup("")
        low, high, middle = (self.y(lift[end]) for end in ("lift_low", "lift_high", "lift"))
        return Markup(
            '<line class="bar {0}" x1="{1}" y1="{2}" x2="{1}" y2="{3}"/>'
            '<circle class="dot {0}" cx="{1}" cy="{4}" r="5"/>'
        ).format(kind, round(x, 2), low, high, middle)


def by_look(
    looks: Sequence[Mapping[str, Any]], metric: str, treatment: str, *, truth: float | None
) -> Markup:
    """The lift at each look: since the start (solid) and each stretch by itself (open)."""
    pairs = [(look["since_start"][treatment][metric], look["by_itself"][treatment][metric]) for look in looks]
    lifts = [lift for pair in pairs for lift in pair if lift["lift_low"] is not None]
    if not lifts:
        return Markup("")
    ends = [lift[end] for lift in lifts for end in ("lift_low", "lift_high")]
    frame = _Frame.around([*ends, truth or 0.0], columns=len(looks))
    parts = frame.ticks()
    if truth is not None:
        parts.append(frame.level(truth, "truth-line"))
    for place, (look, (since_start, by_itself)) in enumerate(zip(looks, pairs, strict=True)):
        name = f"look {look['number']}" + ("" if look["is_due"] else ", so far")
        parts.append(frame.text(frame.x(place), frame.height - 10, "middle", name))
        parts.append(frame.whisker(frame.x(place) - 9, since_start, "whole"))
        parts.append(frame.whisker(frame.x(place) + 9, by_itself, "part"))
    label = "Lift at each look, with intervals; the table below has the numbers"
    return _svg(frame.width, frame.height, label, parts, kind="looks")


def by_age(ages: Sequence[Mapping[str, Any]]) -> Markup:
    """The lift by days since the first search, with its simultaneous band."""
    frame = _Frame.around([age[end] for age in ages for end in ("low", "high")], columns=len(ages))
    parts = frame.ticks()
    for place, age in enumerate(ages):
        first, last = age["first_day"], age["last_day"]
        parts.append(
            frame.text(
                frame.x(place),
                frame.height - 10,
                "middle",
                f"day {first}" if first == last else f"days {first} to {last}",
            )
        )
        whisker = {"lift": age["lift"], "lift_low": age["low"], "lift_high": age["high"]}
        parts.append(frame.whisker(frame.x(place), whisker, "whole"))
    label = "Lift by days since the first search; the table below has the numbers"
    return _svg(frame.width, frame.height, label, parts, kind="looks")


def _nice(reach: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that lies well inside the axis."""
    power = 10.0 ** floor(log10(0.9 * reach))
    return max((step * power for step in (1, 2, 5) if step * power <= 0.9 * reach), default=power)


def _svg(width: int, height: int, label: str, parts: Sequence[Markup], *, kind: str = "interval") -> Markup:
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        kind, width, height, label
    )
    return opening + Markup("").join(parts) + Markup("</svg>")
