"""How sellers write: rich, sparse, silent or wrong, with synonyms and slips of the pen.

Chance comes in as an argument. What a seller writes may be false; what is true
is in `Look` and nowhere else.
"""

from random import Random

from .drawing import Look
from .words import BRANDS, COLOURS, KINDS, PATTERNS, names_of

# How titles are written, and how often. Chosen, not measured: the shares of
# sparse and wrong titles are what gives a picture something to add.
TITLE_STYLES = {"rich": 0.24, "short": 0.18, "bare": 0.24, "silent": 0.24, "wrong": 0.10}
TYPO_SHARE = 0.05
_SYNONYM_SHARE = 0.3

_FLUFF = (
    "Fast shipping. Returns within 30 days.",
    "A great gift for every occasion!",
    "Please read our terms before you buy.",
    "Last pieces in stock, order today.",
    "Colours may differ slightly from your screen.",
    "As seen in our summer look book.",
)
_SILENT = (
    "New arrival!!",
    "Gift idea",
    "Bestseller",
    "Summer collection",
    "SALE -30%",
    "Limited edition",
    "Restocked",
    "Must have",
)


def draw_style(rng: Random) -> str:
    """One of `TITLE_STYLES`, by its share."""
    return rng.choices(list(TITLE_STYLES), weights=list(TITLE_STYLES.values()))[0]


def write_title(look: Look, style: str, brand: str, rng: Random) -> str:
    """A title in this style."""
    if style == "silent":
        return _silent_title(brand, rng)
    seen = mistaken(look, rng) if style == "wrong" else look
    noun = _say("type", seen.type, rng)
    if style == "bare":
        extras = ("", "", brand, rng.choice(KINDS[look.type].sizes))
        title = " ".join(part for part in (noun, rng.choice(extras)) if part)
    elif style == "short":
        field = rng.choice(("colour", "colour", "material", "pattern"))
        title = f"{_say(field, getattr(seen, field), rng)} {noun}"
    else:
        title = _rich_title(seen, noun, brand, rng)
    if rng.random() < TYPO_SHARE:
        title = slip(title, rng)
    return title[0].upper() + title[1:]


def mistaken(look: Look, rng: Random) -> Look:
    """The look as a careless seller sees it: another colour or another pattern."""
    if rng.random() < 0.6:
        colour = rng.choice([name for name in COLOURS if name not in (look.colour, look.second_colour)])
        return _but(look, colour=colour)
    return _but(look, pattern=rng.choice([name for name in PATTERNS if name != look.pattern]))


def write_description(look: Look, style: str, rng: Random) -> str:
    """A description: mostly empty or idle, now and then a useful one."""
    lot = rng.random()
    if lot < 0.55:
        return ""
    if lot < 0.78 or style in ("wrong", "silent"):
        return rng.choice(_FLUFF)
    if lot < 0.92:
        return f"Made of {_say('material', look.material, rng)}. {rng.choice(_FLUFF)}"
    kind, colour = _say("type", look.type, rng), _say("colour", look.colour, rng)
    return f"A {colour} {kind} of {look.material}, {_say('pattern', look.pattern, rng)}, by hand."


def write_attributes(look: Look, style: str, rng: Random) -> dict[str, str]:
    """The fields a seller bothered to fill in."""
    if style == "silent" or rng.random() < 0.45:
        return {}
    fields: dict[str, str] = {}
    if rng.random() < 0.5:
        fields["material"] = look.material
    if style in ("rich", "short") and rng.random() < 0.4:
        fields["colour"] = look.colour
    if rng.random() < 0.6:
        fields["size"] = rng.choice(KINDS[look.type].sizes)
    return fields


def draw_brand(rng: Random) -> str:
    """A brand, or nothing: three in ten sellers name none."""
    return rng.choice(BRANDS) if rng.random() < 0.7 else ""


def draw_price(look: Look, rng: Random) -> float:
    """A price around what the kind usually costs, ending as prices do."""
    usual = KINDS[look.type].price * rng.lognormvariate(0, 0.35)
    return round(max(2, round(usual)) - rng.choice((0.01, 0.05, 0.10, 0.50, 0.0)), 2)


def slip(text: str, rng: Random) -> str:
    """Swap two neighbouring letters, or lose one."""
    at = rng.randrange(1, max(2, len(text) - 1))
    if rng.random() < 0.5:
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _silent_title(brand: str, rng: Random) -> str:
    code = f"{rng.choice('ABCKTVX')}{rng.choice('ACELRS')}-{rng.randint(10, 999)}"
    forms = (
        f"Model {code}",
        f"{brand or 'Article'} {code}",
        f"Item {rng.randint(10000, 99999)}",
        rng.choice(_SILENT),
    )
    return rng.choice(forms)


def _rich_title(seen: Look, noun: str, brand: str, rng: Random) -> str:
    words = [_say(field, getattr(seen, field), rng) for field in ("pattern", "colour", "material")]
    if seen.pattern == "plain" and rng.random() < 0.7:
        words = words[1:]
    rng.shuffle(words)
    if rng.random() < 0.25:
        words.pop()
    size = rng.choice(KINDS[seen.type].sizes) if rng.random() < 0.5 else ""
    maker = brand if rng.random() < 0.3 else ""
    if rng.random() < 0.2:
        return " ".join(part for part in (maker, noun, *words, size) if part)
    return " ".join(part for part in (*words, noun, size, maker) if part)


def _say(field: str, plain: str, rng: Random) -> str:
    names = names_of(field, plain)
    return rng.choice(names[1:]) if rng.random() < _SYNONYM_SHARE else names[0]


def _but(look: Look, *, colour: str | None = None, pattern: str | None = None) -> Look:
    return Look(
        type=look.type,
        colour=colour or look.colour,
        second_colour=look.second_colour,
        pattern=pattern or look.pattern,
        material=look.material,
    )
