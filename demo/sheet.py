"""A sheet of 100 by 100 units (y grows downwards) that is drawn on in masks, one per role."""

from collections.abc import Sequence
from itertools import pairwise
from math import cos, pi
from typing import Any

from PIL import Image, ImageDraw

SHEET_PX = 216
_UNIT = SHEET_PX / 100

Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Sheet:
    """Masks by role, drawn in units."""

    def __init__(self) -> None:
        self.masks: dict[str, Image.Image] = {}
        self._pens: dict[str, Any] = {}

    def polygon(self, role: str, points: Sequence[Point], *, fill: int = 255) -> None:
        """Fill a polygon."""
        self._pen(role).polygon([(x * _UNIT, y * _UNIT) for x, y in points], fill=fill)

    def ellipse(self, role: str, box: Box, *, fill: int = 255) -> None:
        """Fill an ellipse."""
        self._pen(role).ellipse([edge * _UNIT for edge in box], fill=fill)

    def rectangle(self, role: str, box: Box, *, radius: float = 0, fill: int = 255) -> None:
        """Fill a rectangle, its corners rounded."""
        self._pen(role).rounded_rectangle([edge * _UNIT for edge in box], radius=radius * _UNIT, fill=fill)

    def line(self, role: str, points: Sequence[Point], *, width: float = 1, fill: int = 255) -> None:
        """Draw a line through points."""
        scaled = [(x * _UNIT, y * _UNIT) for x, y in points]
        self._pen(role).line(scaled, fill=fill, width=max(1, round(width * _UNIT)), joint="curve")

    def arc(self, role: str, box: Box, start: float, end: float, *, width: float, fill: int = 255) -> None:
        """Draw a thick arc, degrees clockwise from three o'clock."""
        self._pen(role).arc([edge * _UNIT for edge in box], start, end, fill=fill, width=round(width * _UNIT))

    def chord(self, role: str, box: Box, start: float, end: float) -> None:
        """Fill an arc and the straight line between its ends."""
        self._pen(role).chord([edge * _UNIT for edge in box], start, end, fill=255)

    def profile(self, role: str, points: Sequence[Point]) -> None:
        """Fill a shape turned on a lathe, about x = 50, from (y, half width) top down, smoothed."""
        right: list[Point] = []
        for (y0, w0), (y1, w1) in pairwise(points):
            for step in range(8):
                along = step / 8
                ease = (1 - cos(pi * along)) / 2
                right.append((50 + w0 + (w1 - w0) * ease, y0 + (y1 - y0) * along))
        right.append((50 + points[-1][1], points[-1][0]))
        self.polygon(role, right + [(100 - x, y) for x, y in reversed(right)])

    def _pen(self, role: str) -> Any:
        if role not in self._pens:
            self.masks[role] = Image.new("L", (SHEET_PX, SHEET_PX))
            self._pens[role] = ImageDraw.Draw(self.masks[role])
        return self._pens[role]
