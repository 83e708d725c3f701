"""What the demo's shop sells, in words: kinds, colours, patterns, materials, and how people call them.

A vocabulary and nothing else: no drawing, no chance. The first name of a thing
is its plain name; the others are what some sellers and shoppers say instead.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of product.

    Attributes:
        names: the plain name first, then synonyms.
        category: the shelf; coarse, as in many shops: it does not give the kind away.
        materials: what it can be made of; each is a key of `MATERIALS`.
        price: a usual price in euro.
        sizes: what sellers of it put behind the name.
    """

    names: tuple[str, ...]
    category: str
    materials: tuple[str, ...]
    price: float
    sizes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """A colour: its names, plain one first, and its paint."""

    names: tuple[str, ...]
    rgb: tuple[int, int, int]


_KITCHEN, _HOME, _WEAR, _CARRY, _LEISURE = "Kitchen", "Home", "Clothing", "Accessories", "Leisure"
_BODY_SIZES = ("S", "M", "L", "XL", "size 38", "size 42")

KINDS: dict[str, Kind] = {
    kind.names[0]: kind
    for kind in (
        Kind(
            names=("mug", "coffee cup", "tea cup"),
            category=_KITCHEN,
            materials=("ceramic", "glass", "metal"),
            price=14,
            sizes=("330 ml", "250 ml", "0.4 l"),
        ),
        Kind(
            names=("teapot", "tea pot", "tea kettle"),
            category=_KITCHEN,
            materials=("ceramic", "glass", "metal"),
            price=39,
            sizes=("1 l", "1.2 l"),
        ),
        Kind(
            names=("bowl", "salad bowl", "serving dish"),
            category=_KITCHEN,
            materials=("ceramic", "wood", "glass"),
            price=19,
            sizes=("18 cm", "24 cm"),
        ),
        Kind(
            names=("bottle", "flask", "water bottle"),
            category=_KITCHEN,
            materials=("glass", "metal", "plastic"),
            price=22,
            sizes=("0.5 l", "750 ml"),
        ),
        Kind(
            names=("vase", "flower vase", "urn"),
            category=_HOME,
            materials=("ceramic", "glass", "metal"),
            price=29,
            sizes=("20 cm", "32 cm"),
        ),
        Kind(
            names=("lamp", "table lamp", "bedside light"),
            category=_HOME,
            materials=("linen", "cotton", "plastic"),
            price=49,
            sizes=("E27", "45 cm"),
        ),
        Kind(
            names=("chair", "dining chair", "seat"),
            category=_HOME,
            materials=("velvet", "leather", "linen"),
            price=119,
            sizes=("set of 1", "90 cm"),
        ),
        Kind(
            names=("cushion", "throw pillow", "pillow"),
            category=_HOME,
            materials=("cotton", "velvet", "wool"),
            price=24,
            sizes=("40x40", "50 x 50 cm"),
        ),
        Kind(
            names=("clock", "wall clock", "timepiece"),
            category=_HOME,
            materials=("wood", "metal", "plastic"),
            price=34,
            sizes=("30 cm", "silent"),
        ),
        Kind(
            names=("t-shirt", "tee", "shirt"),
            category=_WEAR,
            materials=("cotton", "linen", "wool"),
            price=21,
            sizes=_BODY_SIZES,
        ),
        Kind(
            names=("dress", "gown", "frock"),
            category=_WEAR,
            materials=("cotton", "silk", "linen"),
            price=59,
            sizes=_BODY_SIZES,
        ),
        Kind(
            names=("boot", "ankle boot", "shoe"),
            category=_WEAR,
            materials=("leather", "rubber", "velvet"),
            price=89,
            sizes=("EU 39", "EU 43"),
        ),
        Kind(
            names=("hat", "sun hat", "fedora"),
            category=_WEAR,
            materials=("straw", "wool", "cotton"),
            price=27,
            sizes=("M", "one size"),
        ),
        Kind(
            names=("scarf", "shawl", "wrap"),
            category=_WEAR,
            materials=("wool", "silk", "cotton"),
            price=29,
            sizes=("180 cm", "one size"),
        ),
        Kind(
            names=("sock", "ankle sock", "stocking"),
            category=_WEAR,
            materials=("wool", "cotton"),
            price=9,
            sizes=("36-38", "42-44"),
        ),
        Kind(
            names=("necktie", "tie", "cravat"),
            category=_WEAR,
            materials=("silk", "wool", "cotton"),
            price=26,
            sizes=("7 cm", "slim"),
        ),
        Kind(
            names=("handbag", "bag", "purse"),
            category=_CARRY,
            materials=("leather", "straw", "cotton"),
            price=69,
            sizes=("small", "A4"),
        ),
        Kind(
            names=("backpack", "rucksack", "daypack"),
            category=_CARRY,
            materials=("cotton", "leather", "plastic"),
            price=54,
            sizes=("20 l", "28 l"),
        ),
        Kind(
            names=("watch", "wristwatch", "wrist watch"),
            category=_CARRY,
            materials=("leather", "metal", "rubber"),
            price=99,
            sizes=("38 mm", "41 mm"),
        ),
        Kind(
            names=("umbrella", "parasol", "brolly"),
            category=_CARRY,
            materials=("cotton", "plastic"),
            price=23,
            sizes=("95 cm", "automatic"),
        ),
        Kind(
            names=("guitar", "acoustic guitar", "six-string"),
            category=_LEISURE,
            materials=("wood", "plastic"),
            price=149,
            sizes=("4/4", "3/4"),
        ),
    )
}

COLOURS: dict[str, Colour] = {
    colour.names[0]: colour
    for colour in (
        Colour(names=("red", "scarlet", "crimson"), rgb=(206, 32, 41)),
        Colour(names=("orange", "tangerine"), rgb=(242, 125, 24)),
        Colour(names=("yellow", "lemon", "mustard"), rgb=(247, 208, 44)),
        Colour(names=("green", "emerald"), rgb=(40, 142, 62)),
        Colour(names=("turquoise", "teal", "aqua"), rgb=(38, 186, 182)),
        Colour(names=("blue", "azure", "cobalt"), rgb=(36, 98, 214)),
        Colour(names=("navy", "dark blue"), rgb=(24, 34, 92)),
        Colour(names=("purple", "violet", "lilac"), rgb=(128, 54, 168)),
        Colour(names=("pink", "rose"), rgb=(245, 134, 178)),
        Colour(names=("brown", "chocolate"), rgb=(116, 68, 36)),
        Colour(names=("beige", "cream", "sand"), rgb=(222, 200, 162)),
        Colour(names=("grey", "gray", "silver"), rgb=(138, 140, 144)),
        Colour(names=("black", "jet black"), rgb=(32, 31, 34)),
        Colour(names=("white", "ivory"), rgb=(246, 245, 240)),
    )
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid", "uni"),
    "striped": ("striped", "stripy", "stripes"),
    "dotted": ("dotted", "polka dot", "spotted"),
    "checked": ("checked", "gingham", "plaid"),
    "zigzag": ("zigzag", "chevron"),
    "floral": ("floral", "flowers", "flowery"),
    "starry": ("starry", "stars", "star print"),
    "gradient": ("gradient", "ombre", "two-tone fade"),
}

MATERIALS: dict[str, tuple[str, ...]] = {
    "ceramic": ("ceramic", "porcelain", "stoneware"),
    "glass": ("glass", "see-through"),
    "metal": ("metal", "steel", "stainless steel"),
    "wood": ("wood", "wooden"),
    "plastic": ("plastic", "acrylic"),
    "rubber": ("rubber", "silicone"),
    "leather": ("leather", "hide"),
    "cotton": ("cotton", "canvas"),
    "linen": ("linen", "flax"),
    "wool": ("wool", "knitted", "woollen"),
    "silk": ("silk", "satin"),
    "velvet": ("velvet", "plush"),
    "straw": ("straw", "woven", "rattan"),
}

BRANDS = (
    "Norrvik",
    "Calder & Finch",
    "Ombrosa",
    "Tessaline",
    "Hulmo",
    "Pellegrim",
    "Wrenfold",
    "Adamora",
    "Kittiwick",
    "Bruma Casa",
    "Sollentide",
    "Larchmoor",
    "Vantelle",
    "Quillby",
    "Okaro",
    "Dunmere",
)


def names_of(field: str, plain: str) -> tuple[str, ...]:
    """Every name of a thing, plain name first.

    >>> names_of("pattern", "zigzag")
    ('zigzag', 'chevron')

    Args:
        field: `type`, `colour`, `pattern` or `material`.
        plain: the plain name, as the truth file has it.
    """
    if field == "type":
        return KINDS[plain].names
    if field == "colour":
        return COLOURS[plain].names
    if field == "pattern":
        return PATTERNS[plain]
    if field == "material":
        return MATERIALS[plain]
    raise ValueError(f"field is {field!r}, must be one of type, colour, pattern, material")
