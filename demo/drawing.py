"""One photo of one product: the thing, its surface, a place to stand, light and clutter.

The same look and product seed give the same thing; the scene seed alone
decides where and how it was photographed. Same arguments, same bytes.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO
from random import Random

from PIL import Image, ImageChops, ImageDraw

from .shapes import ROLES, ROUND, draw_shape
from .sheet import SHEET_PX
from .surfaces import OPACITY, Paint, between, contrast, draw_pattern, finish
from .words import COLOURS

# Drawn larger, then reduced: edges come out smooth without a slow filter.
_SCENE_PX = 192
PHOTO_PX = 128
JPEG_QUALITY = 85

_WALLS: tuple[Paint, ...] = (
    (238, 238, 236),
    (225, 218, 205),
    (203, 214, 222),
    (214, 224, 208),
    (232, 212, 206),
    (180, 186, 190),
    (120, 128, 134),
    (244, 236, 218),
    (196, 178, 160),
    (90, 98, 104),
)
_FLOORS: tuple[Paint, ...] = (
    (176, 132, 92),
    (140, 98, 64),
    (205, 190, 168),
    (152, 154, 156),
    (96, 104, 96),
    (222, 220, 216),
    (84, 74, 68),
    (168, 184, 148),
)
_CLUTTER: tuple[Paint, ...] = (
    (190, 70, 60),
    (70, 120, 180),
    (90, 150, 90),
    (210, 180, 90),
    (120, 90, 70),
    (230, 230, 225),
    (70, 70, 80),
    (160, 120, 170),
)
_WOODS: tuple[Paint, ...] = ((150, 104, 62), (108, 70, 42), (196, 154, 104), (70, 50, 38))
_METALS: tuple[Paint, ...] = ((192, 196, 202), (206, 170, 92), (120, 124, 130))
_PAPER: Paint = (248, 247, 240)
_INK: Paint = (26, 25, 29)
# Two paints nearer than this cannot be told apart in a small photo.
_TELL_APART = 190.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a product truly looks like, in plain names of `demo.words`."""

    type: str
    colour: str
    second_colour: str
    pattern: str
    material: str


def distinct_seconds(colour: str) -> list[str]:
    """The colours that can be told from this one when they lie on top of it."""
    main = COLOURS[colour].rgb
    return [name for name, other in COLOURS.items() if contrast(main, other.rgb) > 1.35 * _TELL_APART]


def draw_photo(look: Look, *, product_seed: str, scene_seed: str) -> bytes:
    """A JPEG of the product."""
    scene_rng = Random(f"scene:{scene_seed}")
    thing = _draw_thing(look, Random(f"thing:{product_seed}"))
    scene = _draw_scene(scene_rng, avoid=COLOURS[look.colour].rgb)
    _scatter(scene, scene_rng)
    _place(scene, thing, scene_rng)
    photo = _expose(scene, scene_rng).resize((PHOTO_PX, PHOTO_PX), Image.Resampling.BOX)
    out = BytesIO()
    photo.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _draw_thing(look: Look, rng: Random) -> Image.Image:
    masks = draw_shape(look.type, rng)
    main, second = _hue(look.colour, rng), _hue(look.second_colour, rng)
    flat = {
        "wood": rng.choice(_WOODS),
        "metal": rng.choice(_METALS),
        "paper": _PAPER if look.type == "watch" or contrast(main, _PAPER) > _TELL_APART else _INK,
        "hollow": between(main, _INK, 0.62),
        "ink": _INK if look.type == "watch" else _ink_on(main),
    }
    thing = Image.new("RGB", (SHEET_PX, SHEET_PX), main)
    alpha = Image.new("L", (SHEET_PX, SHEET_PX))
    for role in ROLES:
        mask = masks.get(role)
        if mask is None:
            continue
        if role in flat:
            thing.paste(flat[role], mask=mask)
        else:
            is_body = role == "body"
            _, top, _, bottom = mask.getbbox() or (0, 0, SHEET_PX, SHEET_PX)
            pattern, paint = (look.pattern, main) if is_body else ("plain", second)
            sheet = draw_pattern(pattern, paint, second, rng, span=(top, bottom))
            thing.paste(finish(sheet, look.material, is_round=is_body and look.type in ROUND), mask=mask)
            _bevel(thing, mask)
            mask = _dim(mask, OPACITY.get(look.material, 1.0))
        alpha = ImageChops.lighter(alpha, mask)
    thing.putalpha(alpha)
    return thing


def _ink_on(main: Paint) -> Paint:
    return between(main, _INK, 0.7) if sum(main) > 150 else (110, 110, 116)


def _dim(mask: Image.Image, share: float) -> Image.Image:
    return mask if share == 1 else mask.point(_dimming(share))


@cache
def _dimming(share: float) -> list[int]:
    return [round(level * share) for level in range(256)]


def _hue(colour: str, rng: Random) -> Paint:
    """A paint of this name: no two dyers mix the same."""
    red, green, blue = (min(255, max(0, level + rng.randint(-9, 9))) for level in COLOURS[colour].rgb)
    return red, green, blue


def _bevel(thing: Image.Image, mask: Image.Image) -> None:
    """A thin bright edge to the upper left, a dark one to the lower right."""
    lower = ImageChops.subtract(mask, ImageChops.offset(mask, -3, -3))
    upper = ImageChops.subtract(mask, ImageChops.offset(mask, 3, 3))
    thing.paste((20, 18, 22), mask=_dim(lower, 0.43))
    thing.paste((255, 255, 255), mask=_dim(upper, 0.31))


def _pick(paints: tuple[Paint, ...], rng: Random, avoid: Paint) -> Paint:
    clear = [paint for paint in paints if contrast(paint, avoid) > _TELL_APART]
    return rng.choice(clear or list(paints))


def _draw_scene(rng: Random, *, avoid: Paint) -> Image.Image:
    wall, floor = _pick(_WALLS, rng, avoid), _pick(_FLOORS, rng, avoid)
    scene = Image.new("RGB", (_SCENE_PX, _SCENE_PX), wall)
    pen = ImageDraw.Draw(scene)
    place = rng.choice(("studio", "table", "table", "tiles", "shelf", "cloth", "window"))
    horizon = rng.randint(110, 150)
    if place == "studio":
        return scene
    if place == "cloth":
        fold = between(wall, (40, 40, 44), 0.12)
        for x in range(-_SCENE_PX, _SCENE_PX, rng.randint(18, 40)):
            pen.line([(x, 0), (x + 130, _SCENE_PX)], fill=fold, width=rng.randint(3, 9))
        return scene
    if place == "tiles":
        joint, size = between(wall, (60, 60, 64), 0.22), rng.randint(24, 44)
        for at in range(rng.randint(0, size), _SCENE_PX, size):
            pen.line([(at, 0), (at, horizon)], fill=joint)
            pen.line([(0, at), (_SCENE_PX, at)], fill=joint)
    if place == "window":
        left = rng.randint(0, 120)
        pen.rectangle(
            (left, 8, left + 66, horizon - 20), fill=(206, 226, 240), outline=(250, 250, 250), width=4
        )
        pen.line([(left + 33, 8), (left + 33, horizon - 20)], fill=(250, 250, 250), width=3)
    pen.rectangle((0, horizon, _SCENE_PX, _SCENE_PX), fill=floor)
    for y in range(horizon + 12, _SCENE_PX, rng.randint(12, 20)):
        pen.line([(0, y), (_SCENE_PX, y + rng.randint(-3, 3))], fill=between(floor, (30, 24, 20), 0.18))
    if place == "shelf":
        pen.rectangle((0, horizon, _SCENE_PX, horizon + 7), fill=between(floor, (255, 255, 255), 0.25))
    return scene


def _scatter(scene: Image.Image, rng: Random) -> None:
    """Small other things, towards the edges."""
    pen = ImageDraw.Draw(scene)
    for _ in range(rng.choice((0, 1, 2, 3))):
        x = rng.choice((rng.randint(-8, 30), rng.randint(150, 188)))
        y, size = rng.randint(12, 176), rng.randint(8, 17)
        paint = rng.choice(_CLUTTER)
        dark = between(paint, (20, 20, 20), 0.3)
        what = rng.choice(("ball", "box", "book", "leaf", "pen"))
        if what == "ball":
            pen.ellipse((x - size, y - size, x + size, y + size), fill=paint, outline=dark)
        elif what == "box":
            pen.rectangle((x - size, y - size, x + size, y + size), fill=paint, outline=dark)
        elif what == "book":
            pen.rectangle((x - 2 * size, y, x + size, y + size // 2), fill=paint, outline=dark)
            pen.rectangle((x - 2 * size + 4, y - size // 2, x + size - 2, y), fill=dark)
        elif what == "leaf":
            for turn in range(0, 360, 60):
                pen.pieslice((x - size, y - size, x + size, y + size), turn, turn + 26, fill=(74, 132, 70))
        else:
            pen.line([(x - size, y - size), (x + size, y + size)], fill=paint, width=4)


def _place(scene: Image.Image, thing: Image.Image, rng: Random) -> None:
    """Turn, scale and set the thing into the scene, with its shadow."""
    if rng.random() < 0.3:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # One photo in ten is a close-up that the frame cuts.
    size = round(_SCENE_PX * (rng.uniform(1.0, 1.18) if rng.random() < 0.1 else rng.uniform(0.66, 0.92)))
    thing = thing.resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < 0.75:
        thing = thing.rotate(rng.gauss(0, 9), Image.Resampling.BILINEAR)
    room = _SCENE_PX - size
    left, top = round(room * rng.uniform(0.1, 0.9)), round(room * rng.uniform(0.15, 0.95))
    alpha = thing.getchannel("A")
    shade = _dim(alpha.reduce(8), 0.41).resize(alpha.size, Image.Resampling.BILINEAR)
    drop = rng.randint(3, 9)
    scene.paste((18, 16, 20), (left + rng.choice((-drop, drop)), top + drop), shade)
    scene.paste(thing.convert("RGB"), (left, top), alpha)


def _expose(scene: Image.Image, rng: Random) -> Image.Image:
    """The light of the room and the camera's grain."""
    warm = rng.uniform(-0.06, 0.06)
    bright = rng.uniform(0.84, 1.06)
    gains = (bright * (1 + warm), bright, bright * (1 - warm))
    table = [min(255, round(level * gain)) for gain in gains for level in range(256)]
    return scene.point(table)
