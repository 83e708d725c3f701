"""The outline of each kind of product, on a sheet of 100 by 100 units.

A shape fills masks by role: `back`, `wood`, `body` (takes colour and pattern),
`trim` (second colour), `metal`, `paper`, `hollow` (an inside in shade) and
`ink` (fine dark lines), painted in that order. No colour is chosen here.
"""

from collections.abc import Callable
from math import cos, pi, sin
from random import Random

from PIL import Image

from .sheet import Point, Sheet

ROLES = ("back", "wood", "body", "trim", "metal", "paper", "hollow", "ink")


def _mug(sheet: Sheet, rng: Random) -> None:
    taper, height = rng.uniform(-4, 5), rng.uniform(48, 62)
    top = 84 - height
    sheet.arc("body", (56, top + 10, 88, 84 - height * 0.2), 250, 110, width=7)
    sheet.polygon("body", [(24, top), (70, top), (70 - taper, 80), (64, 85), (30, 85), (24 + taper, 80)])
    sheet.ellipse("body", (24, top - 6, 70, top + 6))
    sheet.ellipse("hollow", (27, top - 4, 67, top + 4))


def _teapot(sheet: Sheet, rng: Random) -> None:
    squat = rng.uniform(-5, 5)
    sheet.polygon("body", [(66, 52), (84, 34), (94, 32), (92, 38), (86, 46), (72, 76)])
    sheet.arc("trim", (6, 40, 38, 76), 80, 290, width=6)
    sheet.ellipse("body", (22, 36 + squat, 78, 84))
    sheet.rectangle("body", (38, 80, 62, 87), radius=2)
    sheet.chord("trim", (36, 28 + squat, 64, 52 + squat), 180, 360)
    sheet.ellipse("trim", (45, 20 + squat, 55, 30 + squat))
    sheet.line("ink", [(35, 40 + squat), (65, 40 + squat)], width=1)


def _bowl(sheet: Sheet, rng: Random) -> None:
    deep = rng.uniform(0, 10)
    sheet.rectangle("trim", (38, 76 + deep, 62, 84 + deep), radius=2)
    sheet.chord("body", (12, 8 - deep, 88, 80 + deep), 0, 180)
    sheet.ellipse("body", (12, 36, 88, 53))
    sheet.ellipse("hollow", (16, 38, 84, 51))


def _bottle(sheet: Sheet, rng: Random) -> None:
    wide, neck = rng.uniform(13, 19), rng.uniform(5, 7.5)
    shoulder = rng.uniform(30, 44)
    sheet.profile("body", [(14, neck), (24, neck), (shoulder, wide), (60, wide), (90, wide), (94, wide - 3)])
    sheet.rectangle("trim", (50 - neck - 2, 5, 50 + neck + 2, 15), radius=2)


def _vase(sheet: Sheet, rng: Random) -> None:
    belly, neck, foot = rng.uniform(22, 31), rng.uniform(7, 12), rng.uniform(11, 16)
    sheet.profile(
        "body",
        [(14, neck + 6), (18, neck + 4), (30, neck), (rng.uniform(52, 64), belly), (86, foot), (92, foot)],
    )
    sheet.ellipse("body", (50 - neck - 6, 10, 50 + neck + 6, 18))
    sheet.ellipse("hollow", (50 - neck - 4, 11, 50 + neck + 4, 17))


def _lamp(sheet: Sheet, rng: Random) -> None:
    top, low = rng.uniform(12, 20), rng.uniform(28, 36)
    foot = rng.choice(("wood", "metal"))
    sheet.rectangle(foot, (47.5, 50, 52.5, 86))
    sheet.ellipse(foot, (33, 82, 67, 93))
    if rng.random() < 0.5:
        sheet.ellipse(foot, (42, 60, 58, 78))
    sheet.polygon("body", [(50 - top, 9), (50 + top, 9), (50 + low, 53), (50 - low, 53)])
    sheet.line("trim", [(50 - low, 53), (50 + low, 53)], width=3)
    sheet.line("trim", [(50 - top, 9), (50 + top, 9)], width=3)


def _chair(sheet: Sheet, rng: Random) -> None:
    high, radius = rng.uniform(4, 14), rng.uniform(2, 14)
    for top, foot in (((30, 62), (26, 95)), ((72, 62), (78, 95)), ((40, 60), (40, 86)), ((62, 60), (64, 86))):
        sheet.line("wood", [top, foot], width=4)
    sheet.rectangle("wood", (33, 44, 37, 60))
    sheet.rectangle("wood", (65, 44, 69, 60))
    sheet.rectangle("body", (28, high, 74, 50), radius=radius)
    sheet.polygon("body", [(28, 54), (74, 54), (82, 64), (80, 70), (22, 70), (20, 64)])
    sheet.line("ink", [(21, 64), (81, 64)], width=1)


def _cushion(sheet: Sheet, rng: Random) -> None:
    pinch = rng.uniform(3, 7)
    corners: list[Point] = [(10, 14), (90, 14), (90, 88), (10, 88)]
    outline: list[Point] = []
    for index, (x0, y0) in enumerate(corners):
        x1, y1 = corners[(index + 1) % 4]
        for step in range(8):
            along = step / 8
            inward = pinch * sin(pi * along)
            x, y = x0 + (x1 - x0) * along, y0 + (y1 - y0) * along
            if y0 == y1:
                outline.append((x, y + (inward if index == 0 else -inward)))
            else:
                outline.append((x + (-inward if index == 1 else inward), y))
    if rng.random() < 0.6:
        for x, y in corners:
            sheet.ellipse("trim", (x - 6, y - 6, x + 6, y + 6))
    sheet.polygon("body", outline)
    sheet.line("ink", [*outline, outline[0]], width=1)


def _clock(sheet: Sheet, rng: Random) -> None:
    square = rng.random() < 0.3
    if square:
        sheet.rectangle("back", (10, 10, 90, 90), radius=8)
        sheet.rectangle("body", (17, 17, 83, 83), radius=5)
    else:
        sheet.ellipse("back", (8, 8, 92, 92))
        sheet.ellipse("body", (15, 15, 85, 85))
    for mark in range(12):
        angle = pi * mark / 6
        inner, width = (25, 3.6) if mark % 3 == 0 else (28, 2)
        sheet.line(
            "paper",
            [(50 + r * cos(angle), 50 + r * sin(angle)) for r in (inner, 32)],
            width=width,
        )
    hour, minute = rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi)
    sheet.line("paper", [(50, 50), (50 + 17 * cos(hour), 50 + 17 * sin(hour))], width=4)
    sheet.line("paper", [(50, 50), (50 + 26 * cos(minute), 50 + 26 * sin(minute))], width=2.6)
    sheet.ellipse("paper", (46, 46, 54, 54))


def _t_shirt(sheet: Sheet, rng: Random) -> None:
    sleeve, waist = rng.uniform(0, 12), rng.uniform(-3, 3)
    sheet.polygon(
        "body",
        [
            (39, 14),
            (61, 14),
            (78, 20),
            (96, 42 + sleeve),
            (82, 51 + sleeve),
            (73, 40),
            (73 + waist, 90),
            (27 - waist, 90),
            (27, 40),
            (18, 51 + sleeve),
            (4, 42 + sleeve),
            (22, 20),
        ],
    )
    sheet.ellipse("body", (39, 5, 61, 23), fill=0)
    sheet.arc("trim", (37, 3, 63, 25), 20, 160, width=3)
    sheet.line("ink", [(73, 40), (72, 30)], width=0.8)
    sheet.line("ink", [(27, 40), (28, 30)], width=0.8)


def _dress(sheet: Sheet, rng: Random) -> None:
    flare, length = rng.uniform(24, 38), rng.uniform(82, 95)
    sheet.line("body", [(41, 5), (40, 22)], width=4)
    sheet.line("body", [(59, 5), (60, 22)], width=4)
    sheet.polygon("body", [(36, 16), (44, 20), (56, 20), (64, 16), (61, 44), (39, 44)])
    sheet.polygon(
        "body", [(39, 44), (61, 44), (50 + flare, length - 3), (50, length + 2), (50 - flare, length - 3)]
    )
    sheet.rectangle("trim", (38, 41, 62, 47))
    for x in (-0.5, 0, 0.5):
        sheet.line("ink", [(50 + 12 * x, 49), (50 + 1.4 * flare * x, length - 2)], width=0.7)


def _boot(sheet: Sheet, rng: Random) -> None:
    top = rng.uniform(8, 26)
    sheet.polygon(
        "body",
        [(30, top), (58, top), (58, 48), (66, 56), (84, 62), (91, 70), (92, 82), (29, 82), (31, 60)],
    )
    sheet.rectangle("trim", (28, 80, 94, 88), radius=2)
    sheet.rectangle("trim", (28, 84, 46, 93), radius=1)
    sheet.rectangle("trim", (28, top - 2, 60, top + 6), radius=2)
    for step in range(3):
        y = 34 + step * 8
        sheet.line("ink", [(46, y), (59, y + 4)], width=1.6)


def _hat(sheet: Sheet, rng: Random) -> None:
    height, brim = rng.uniform(22, 40), rng.uniform(40, 47)
    sheet.ellipse("body", (50 - brim, 54, 50 + brim, 80))
    sheet.rectangle("body", (27, 62 - height, 73, 72), radius=14)
    sheet.ellipse("hollow", (40, 60.5 - height, 60, 66 - height))
    sheet.rectangle("trim", (27, 55, 73, 64))
    sheet.line("ink", [(27, 65), (73, 65)], width=1)


def _scarf(sheet: Sheet, rng: Random) -> None:
    left, right = rng.uniform(78, 90), rng.uniform(66, 90)
    sheet.arc("body", (18, 4, 82, 54), 0, 360, width=17)
    sheet.polygon("body", [(46, 38), (66, 38), (76, right), (54, right)])
    for step in range(6):
        sheet.line("trim", [(55 + step * 4, right), (55.6 + step * 4, right + 7)], width=1.6)
    sheet.polygon("body", [(36, 38), (56, 38), (46, left), (22, left)])
    for step in range(6):
        sheet.line("trim", [(23 + step * 4.4, left), (22 + step * 4.4, left + 7)], width=1.6)
    sheet.line("ink", [(56, 40), (46, left)], width=1)
    sheet.arc("ink", (34, 19, 66, 39), 0, 360, width=1)


def _sock(sheet: Sheet, rng: Random) -> None:
    top = rng.uniform(4, 22)
    sheet.polygon("body", [(34, top), (60, top), (58, 52), (62, 58), (82, 66), (66, 92), (40, 80), (31, 66)])
    sheet.ellipse("body", (60, 63, 92, 93))
    sheet.ellipse("body", (30, 52, 62, 82))
    sheet.chord("trim", (60, 63, 92, 93), 285, 105)
    sheet.chord("trim", (30, 52, 62, 82), 85, 205)
    sheet.rectangle("trim", (33, top - 2, 61, top + 8), radius=2)


def _necktie(sheet: Sheet, rng: Random) -> None:
    wide = rng.uniform(13, 19)
    sheet.polygon("body", [(45, 18), (55, 18), (50 + wide, 78), (50, 97), (50 - wide, 78)])
    sheet.polygon("trim", [(38, 3), (62, 3), (56, 20), (44, 20)])
    sheet.line("ink", [(44, 20), (56, 20)], width=1.4)


def _handbag(sheet: Sheet, rng: Random) -> None:
    flare, tall = rng.uniform(0, 8), rng.uniform(36, 46)
    sheet.arc("trim", (30, 8, 70, 74), 180, 360, width=5)
    sheet.polygon("body", [(20, tall), (80, tall), (84 + flare, 86), (80, 90), (20, 90), (16 - flare, 86)])
    if rng.random() < 0.5:
        sheet.polygon("trim", [(20, tall), (80, tall), (72, tall + 14), (28, tall + 14)])
    sheet.rectangle("metal", (45, tall + 10, 55, tall + 18), radius=2)


def _backpack(sheet: Sheet, rng: Random) -> None:
    broad = rng.uniform(24, 30)
    sheet.arc("trim", (41, 4, 59, 28), 180, 360, width=4)
    sheet.rectangle("back", (50 - broad - 7, 36, 50 + broad + 7, 82), radius=8)
    sheet.rectangle("body", (50 - broad, 12, 50 + broad, 92), radius=15)
    sheet.rectangle("trim", (50 - broad + 7, 60, 50 + broad - 7, 86), radius=6)
    sheet.arc("ink", (50 - broad + 5, 18, 50 + broad - 5, 70), 190, 350, width=1.6)
    sheet.rectangle("metal", (47, 60, 53, 68), radius=1)


def _watch(sheet: Sheet, rng: Random) -> None:
    wide, face = rng.uniform(13, 17), rng.uniform(24, 29)
    sheet.rectangle("body", (50 - wide, 2, 50 + wide, 98), radius=6)
    sheet.ellipse("metal", (50 - face, 50 - face, 50 + face, 50 + face))
    sheet.rectangle("metal", (50 + face - 1, 47, 50 + face + 5, 53), radius=1)
    sheet.ellipse("paper", (54 - face, 54 - face, 46 + face, 46 + face))
    for hour in range(12):
        angle = pi * hour / 6
        rim = face - 5
        sheet.line("ink", [(50 + r * cos(angle), 50 + r * sin(angle)) for r in (rim - 4, rim)], width=1.4)
    hand = rng.uniform(0, 2 * pi)
    sheet.line("ink", [(50, 50), (50 + 11 * cos(hand), 50 + 11 * sin(hand))], width=2.4)
    sheet.line("ink", [(50, 50), (50 + 16 * cos(hand + 2), 50 + 16 * sin(hand + 2))], width=1.6)


def _umbrella(sheet: Sheet, rng: Random) -> None:
    low = rng.uniform(80, 96)
    handle = rng.choice(("wood", "metal"))
    sheet.line(handle, [(50, 6), (50, 86)], width=3)
    sheet.arc(handle, (36, 78, 51.5, 96), 0, 180, width=3)
    sheet.chord("body", (5, 10, 95, low), 180, 360)
    middle = (10 + low) / 2
    for step in range(4):
        x = 5 + step * 22.5
        sheet.ellipse("body", (x, middle - 6, x + 22.5, middle + 6), fill=0)
    for x in (27.5, 50, 72.5):
        sheet.line("ink", [(50, 10), (x, middle - 1)], width=0.9)
    sheet.rectangle("trim", (48, 3, 52, 12))


def _guitar(sheet: Sheet, rng: Random) -> None:
    hips = rng.uniform(25, 30)
    sheet.rectangle("wood", (46.5, 8, 53.5, 60))
    sheet.rectangle("wood", (44, 2, 56, 15), radius=2)
    sheet.ellipse("body", (30, 36, 70, 68))
    sheet.ellipse("body", (50 - hips, 52, 50 + hips, 97))
    sheet.rectangle("body", (34, 50, 66, 66))
    sheet.ellipse("hollow", (42, 54, 58, 70))
    sheet.arc("trim", (40, 52, 60, 72), 0, 360, width=1.6)
    sheet.rectangle("ink", (41, 82, 59, 85))
    for x in (48.4, 50, 51.6):
        sheet.line("ink", [(x, 10), (x, 84)], width=0.4)


SHAPES: dict[str, Callable[[Sheet, Random], None]] = {
    "mug": _mug,
    "teapot": _teapot,
    "bowl": _bowl,
    "bottle": _bottle,
    "vase": _vase,
    "lamp": _lamp,
    "chair": _chair,
    "cushion": _cushion,
    "clock": _clock,
    "t-shirt": _t_shirt,
    "dress": _dress,
    "boot": _boot,
    "hat": _hat,
    "scarf": _scarf,
    "sock": _sock,
    "necktie": _necktie,
    "handbag": _handbag,
    "backpack": _backpack,
    "watch": _watch,
    "umbrella": _umbrella,
    "guitar": _guitar,
}

# Turned on a lathe, blown or thrown: lit as a cylinder; the others as a flat thing.
ROUND = frozenset({"mug", "teapot", "bowl", "bottle", "vase", "lamp", "boot", "hat"})


def draw_shape(kind: str, rng: Random) -> dict[str, Image.Image]:
    """The masks of one product of this kind, by role; `rng` gives its proportions."""
    sheet = Sheet()
    SHAPES[kind](sheet, rng)
    return sheet.masks
