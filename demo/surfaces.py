"""Colour, pattern and material as a sheet of surface, before it is cut to a shape.

Patterns are drawn with the pencil; textures and lights are drawn once per
process from fixed seeds, so that a picture depends on its own seed alone.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import cos, pi, sin
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from .sheet import SHEET_PX

Paint = tuple[int, int, int]


def between(first: Paint, second: Paint, share: float) -> Paint:
    """The paint at `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def contrast(first: Paint, second: Paint) -> float:
    """How far apart two paints look: weighted distance, 0 to about 765."""
    weights = (2, 4, 3)
    return float(sum(w * (a - b) ** 2 for w, a, b in zip(weights, first, second, strict=True)) ** 0.5)


_LATE_FADE = [max(0, level - 85) * 3 // 2 for level in range(256)]


def draw_pattern(
    pattern: str, main: Paint, second: Paint, rng: Random, *, span: tuple[int, int]
) -> Image.Image:
    """A square sheet in the main paint with the pattern in the second one.

    Args:
        pattern: a key of `words.PATTERNS`.
        main: the paint of the ground.
        second: the paint of the pattern.
        rng: gives sizes and places.
        span: from where to where, from the top, the sheet will be seen: a gradient runs through all of it.
    """
    sheet = Image.new("RGB", (SHEET_PX, SHEET_PX), main)
    if pattern == "gradient":
        top, bottom = span
        # The main colour holds the upper third, so that it is the main one.
        fade = Image.linear_gradient("L").point(_LATE_FADE).resize((SHEET_PX, max(1, bottom - top)))
        sheet.paste(second, (0, top), fade)
        return sheet
    draw = _DRAWN.get(pattern)
    if draw is not None:
        draw(ImageDraw.Draw(sheet), main, second, rng)
    return sheet


def _striped(pen: Any, _: Paint, second: Paint, rng: Random) -> None:
    width = rng.randint(11, 18)
    slant = rng.choice((0, 0, 0, SHEET_PX, None))
    for start in range(-2 * SHEET_PX, SHEET_PX, 2 * width + 5):
        if slant is None:
            pen.rectangle((start, 0, start + width - 1, SHEET_PX), fill=second)
        elif start + slant + width > 0:
            low, high = start + slant, start
            pen.polygon([(0, high), (SHEET_PX, low), (SHEET_PX, low + width), (0, high + width)], fill=second)


def _lattice(rng: Random, *, gap: int, jitter: int) -> Iterator[tuple[int, int]]:
    for row, y in enumerate(range(rng.randint(0, gap // 2), SHEET_PX + gap, gap)):
        for x in range(-gap // 2 * (row % 2), SHEET_PX + gap, gap):
            yield x + rng.randint(-jitter, jitter), y + rng.randint(-jitter, jitter)


def _dotted(pen: Any, _: Paint, second: Paint, rng: Random) -> None:
    radius = rng.randint(7, 11)
    for x, y in _lattice(rng, gap=round(radius * 3.1), jitter=0):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=second)


def _checked(pen: Any, main: Paint, second: Paint, rng: Random) -> None:
    width = rng.randint(12, 19)
    half = between(main, second, 0.5)
    starts = range(rng.randint(-width, 0), SHEET_PX, 2 * width)
    for start in starts:
        pen.rectangle((start, 0, start + width - 1, SHEET_PX), fill=half)
        pen.rectangle((0, start, SHEET_PX, start + width - 1), fill=half)
    for x in starts:
        for y in starts:
            pen.rectangle((x, y, x + width - 1, y + width - 1), fill=second)


def _zigzag(pen: Any, _: Paint, second: Paint, rng: Random) -> None:
    step, width = rng.randint(14, 21), rng.randint(9, 12)
    for y in range(-step, SHEET_PX + step, 2 * width + 12):
        points = [(x * step, y + (step if x % 2 else 0)) for x in range(-1, SHEET_PX // step + 3)]
        pen.line(points, fill=second, width=width, joint="curve")


def _floral(pen: Any, main: Paint, second: Paint, rng: Random) -> None:
    radius = rng.randint(9, 12)
    heart = (250, 205, 60) if contrast(second, (250, 205, 60)) > 200 else (150, 60, 40)
    leaf = (58, 128, 62) if contrast(main, (58, 128, 62)) > 200 else (190, 220, 150)
    for x, y in _lattice(rng, gap=radius * 5, jitter=5):
        turn = rng.uniform(0, 2 * pi)
        pen.ellipse((x + radius, y + radius, x + 2 * radius + 4, y + 2 * radius - 3), fill=leaf)
        for petal in range(5):
            angle = turn + petal * 2 * pi / 5
            cx, cy, r = x + radius * cos(angle), y + radius * sin(angle), radius * 0.72
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=second)
        r = radius * 0.5
        pen.ellipse((x - r, y - r, x + r, y + r), fill=heart)


def _starry(pen: Any, _: Paint, second: Paint, rng: Random) -> None:
    radius = rng.randint(11, 15)
    for x, y in _lattice(rng, gap=round(radius * 2.4), jitter=3):
        turn = rng.uniform(0, 2 * pi)
        points = []
        for corner in range(10):
            angle = turn + corner * pi / 5
            r = radius if corner % 2 == 0 else radius * 0.42
            points.append((x + r * cos(angle), y + r * sin(angle)))
        pen.polygon(points, fill=second)


_DRAWN: dict[str, Callable[[Any, Paint, Paint, Random], None]] = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
    "floral": _floral,
    "starry": _starry,
}

# How much light each material throws back as a spot, 0 to 1.
GLOSS = {
    "ceramic": 0.55,
    "glass": 0.8,
    "metal": 0.85,
    "plastic": 0.4,
    "silk": 0.35,
    "leather": 0.25,
    "rubber": 0.15,
}
# Glass lets the scene through: this share of its own paint remains.
OPACITY = {"glass": 0.68}


@cache
def _shade(material: str, *, is_round: bool) -> Image.Image:
    """The grain of a material under the light on a round or a flat thing: to be multiplied in."""
    grain = Image.new("L", (SHEET_PX, SHEET_PX), 255)
    draw = _GRAINS.get(material)
    if draw is not None:
        draw(ImageDraw.Draw(grain), Random(f"texture:{material}"))
    light = Image.new("L", (SHEET_PX, SHEET_PX))
    pen = ImageDraw.Draw(light)
    for at in range(SHEET_PX):
        across = at / SHEET_PX
        if is_round:
            pen.line([(at, 0), (at, SHEET_PX)], fill=round(255 - 150 * abs(across - 0.38) ** 1.6))
        else:
            pen.line([(0, at), (SHEET_PX, at)], fill=round(255 - 46 * across))
    shade = ImageChops.multiply(grain, light)
    return Image.merge("RGB", (shade, shade, shade))


def _wood(pen: Any, rng: Random) -> None:
    for x in range(0, SHEET_PX, 4):
        wave = rng.uniform(2, 7)
        points = [(x + wave * sin(y / 31 + x / 17), y) for y in range(0, SHEET_PX + 8, 8)]
        pen.line(points, fill=rng.randint(165, 240), width=rng.randint(1, 3))


def _metal(pen: Any, rng: Random) -> None:
    for y in range(SHEET_PX):
        pen.line([(0, y), (SHEET_PX, y)], fill=rng.randint(205, 255))


def _leather(pen: Any, rng: Random) -> None:
    for _ in range(1500):
        x, y, r = rng.randrange(SHEET_PX), rng.randrange(SHEET_PX), rng.uniform(1.5, 5)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=rng.randint(190, 235))


def _wool(pen: Any, _: Random) -> None:
    for x in range(0, SHEET_PX, 12):
        for y in range(-8, SHEET_PX, 8):
            pen.line([(x, y), (x + 6, y + 7)], fill=178, width=3)
            pen.line([(x + 6, y + 7), (x + 12, y)], fill=205, width=3)


def _weave(step: int, dark: int) -> Callable[[Any, Random], None]:
    def draw(pen: Any, rng: Random) -> None:
        for at in range(0, SHEET_PX, step):
            pen.line([(at, 0), (at, SHEET_PX)], fill=rng.randint(dark, 255))
            pen.line([(0, at), (SHEET_PX, at)], fill=rng.randint(dark, 255))

    return draw


def _straw(pen: Any, _: Random) -> None:
    for row, y in enumerate(range(0, SHEET_PX, 9)):
        for x in range(-9 * (row % 2), SHEET_PX, 18):
            pen.rectangle((x, y, x + 15, y + 7), outline=150, width=2)
            pen.line([(x + 3, y + 4), (x + 12, y + 4)], fill=205)


def _velvet(pen: Any, rng: Random) -> None:
    for _ in range(260):
        x, y, r = rng.randrange(SHEET_PX), rng.randrange(SHEET_PX), rng.uniform(4, 14)
        pen.ellipse((x - r, y - r / 2, x + r, y + r / 2), fill=rng.randint(214, 250))


def _silk(pen: Any, _: Random) -> None:
    for at in range(-SHEET_PX, SHEET_PX):
        shade = round(226 + 29 * sin(at / 15))
        pen.line([(0, at), (SHEET_PX, at + SHEET_PX * 0.7)], fill=shade, width=2)


def _speckled(pen: Any, rng: Random) -> None:
    for _ in range(700):
        x, y = rng.randrange(SHEET_PX), rng.randrange(SHEET_PX)
        pen.point([(x, y), (x + 1, y)], fill=rng.randint(140, 220))


_GRAINS: dict[str, Callable[[Any, Random], None]] = {
    "wood": _wood,
    "metal": _metal,
    "leather": _leather,
    "wool": _wool,
    "cotton": _weave(3, 226),
    "linen": _weave(4, 196),
    "straw": _straw,
    "velvet": _velvet,
    "silk": _silk,
    "ceramic": _speckled,
}


@cache
def _glare(material: str) -> Image.Image:
    """The bright reflection on a glossy round thing, as a mask."""
    mask = Image.new("L", (SHEET_PX, SHEET_PX))
    pen = ImageDraw.Draw(mask)
    pen.polygon([(78, 34), (91, 30), (88, 160), (76, 157)], fill=round(210 * GLOSS[material]))
    pen.ellipse((123, 50, 135, 101), fill=round(90 * GLOSS[material]))
    return mask.resize((27, 27), Image.Resampling.BOX).resize((SHEET_PX, SHEET_PX), Image.Resampling.BILINEAR)


def finish(sheet: Image.Image, material: str, *, is_round: bool) -> Image.Image:
    """Give a sheet of pattern the grain, the shade and the gloss of its material."""
    sheet = ImageChops.multiply(sheet, _shade(material, is_round=is_round))
    if is_round and material in GLOSS:
        sheet.paste((255, 255, 255), mask=_glare(material))
    return sheet
