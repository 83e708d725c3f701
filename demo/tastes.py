"""What shoppers want, how they ask for it, and how near each product comes.

A wish has one product in mind. Where the truth is known (a rendered shop)
nearness goes by what products really are, whatever their sellers wrote; in a
real catalogue it goes by what they have in common in words. No clock and no
server here; chance is a seed.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import log
from random import Random
from typing import Any, Protocol

from experiments.exposure import QueryKind
from product_index.errors import ProductIndexError
from product_index.product import Product

from .words import names_of

# Reads a picture by its name.
ReadPicture = Callable[[str], bytes]

# Assumed where a catalogue tells no price; the demo says so.
BASKET_WITHOUT_PRICES = 25.0
DEFAULT_CURRENCY = "EUR"

# How shoppers ask: mostly in words. Assumed, not measured.
KIND_SHARES: dict[QueryKind, float] = {"text": 0.86, "image": 0.05, "both": 0.09}
# Popularity falls with rank as 1 / rank to this power, for wishes and for products.
ZIPF_EXPONENT = 0.7

# The same thing is worth 1; another one at most this much.
NEXT_BEST = 0.9
_FACETS = {"type": 0.3, "colour": 0.28, "pattern": 0.24, "material": 0.08}
# Fewer words in common than this are a coincidence.
_COINCIDENCE = 0.12
_SYNONYM_SHARE = 0.3
# Says nothing about what is wanted.
_EMPTY_WORDS = frozenset(
    ("and", "for", "from", "the", "with", "yes", "no", "set", "new", "our", "your", "this", "that")
)


class NothingWantedError(Exception):
    """Nothing in the catalogue could be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One way of asking for one product; many shoppers may have the same.

    Attributes:
        number: its rank in popularity, from 0.
        text, image: what is typed and shown; the image is an encoded file.
    """

    number: int
    target: str
    text: str | None = None
    image: bytes | None = field(default=None, repr=False)

    @property
    def kind(self) -> QueryKind:
        """Which sides are there."""
        if self.image is None:
            return "text"
        return "both" if self.text else "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A catalogue and the wishes of its shoppers.

    Attributes:
        wishes: the distinct searches, the most popular first.
        popularity: a weight for each of them.
        notices: what a person should know about how it was made.
    """

    products: Mapping[str, Product]
    wishes: tuple[Wish, ...]
    popularity: tuple[float, ...]
    currency: str
    notices: tuple[str, ...]
    _taste: "_Taste"

    def relevance(self, wish: Wish, product_id: str) -> float:
        """How near a product comes to what is wanted, 0 to 1; 0 for one that nobody knows."""
        if product_id == wish.target:
            return 1.0
        return self._taste.between(wish.target, product_id) if product_id in self.products else 0.0

    def price(self, product_id: str) -> float:
        """What it costs, or what is assumed where the shop does not tell."""
        price = self.products[product_id].price
        return BASKET_WITHOUT_PRICES if price is None else price


def build_world(
    products: Iterable[Product],
    *,
    truth: Mapping[str, Mapping[str, Any]] | None = None,
    read_picture: ReadPicture | None = None,
    distinct_searches: int = 360,
    seed: int = 7,
) -> World:
    """Draw the wishes of a catalogue's shoppers.

    Args:
        products: what is on sale.
        truth: what is true of each, from `shop.read_truth`; None for a real catalogue.
        read_picture: how to read a product's pictures; None: nobody asks by photo.
        distinct_searches: how many wishes there are; fewer where products are few.
        seed: another seed, other wishes.

    Raises:
        NothingWantedError: no product could be asked for.
    """
    known = {product.product_id: product for product in products}
    taste: _Taste = _ByTruth(truth) if truth is not None else _ByWords(known)
    rng = Random(f"wishes:{seed}")
    askable = [product_id for product_id in known if truth is None or product_id in truth]
    rng.shuffle(askable)
    wishes: list[Wish] = []
    # Popular products are wanted in several ways; the tail once or never.
    ranks = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(len(askable))]
    wanted = rng.choices(askable, weights=ranks, k=3 * distinct_searches) if askable else []
    seen: set[tuple[str, str | None, bool]] = set()
    for target in wanted:
        if len(wishes) == distinct_searches:
            break
        kind = rng.choices(list(KIND_SHARES), weights=list(KIND_SHARES.values()))[0]
        text = taste.ask(target, rng)
        image = None
        if kind != "text" and read_picture is not None:
            image = _photo_of(known[target], truth, read_picture, rng)
        if kind == "image" and image is not None:
            text = None
        way = (target, text, image is None)
        if (text is None and image is None) or way in seen:
            continue
        seen.add(way)
        wishes.append(Wish(number=len(wishes), target=target, text=text, image=image))
    if not wishes:
        raise NothingWantedError(
            f"none of {len(known)} products has words or a readable picture; give a title to some"
        )
    return World(
        products=known,
        wishes=tuple(wishes),
        popularity=tuple(1 / (wish.number + 1) ** ZIPF_EXPONENT for wish in wishes),
        currency=_currency(known.values()),
        notices=tuple(_notices(known, truth, wishes)),
        _taste=taste,
    )


class _Taste(Protocol):
    """How products are told apart, and named."""

    def between(self, target: str, product_id: str) -> float:
        """How near another product comes, 0 to `NEXT_BEST`."""
        ...

    def ask(self, target: str, rng: Random) -> str | None:
        """What a shopper types for it: true of the product, in any order; None where there are no words."""
        ...


class _ByTruth:
    """By what things are. Another kind of thing is not wanted at all."""

    def __init__(self, truth: Mapping[str, Mapping[str, Any]]) -> None:
        self._truth = truth

    def between(self, target: str, product_id: str) -> float:
        wanted, found = self._truth[target], self._truth.get(product_id)
        if found is None or wanted["type"] != found["type"]:
            return 0.0
        return sum(worth for facet, worth in _FACETS.items() if wanted[facet] == found[facet])

    def ask(self, target: str, rng: Random) -> str:
        true = self._truth[target]
        facets = [facet for facet in ("colour", "pattern", "material") if true[facet] != "plain"]
        count = rng.choices((1, 2, 3), weights=(3, 5, 2))[0]
        said = [_say(facet, true[facet], rng) for facet in rng.sample(facets, k=min(len(facets), count))]
        noun = _say("type", true["type"], rng)
        return " ".join([*said, noun] if rng.random() < 0.75 else [noun, *said])


class _ByWords:
    """By shared words, the rare ones counting more, and by shelf."""

    def __init__(self, products: Mapping[str, Product]) -> None:
        self._products = products
        self._words = {product_id: _telling_words(product) for product_id, product in products.items()}
        commonness = Counter(word for words in self._words.values() for word in words)
        self._weight = {word: log(1 + len(products) / count) for word, count in commonness.items()}

    def between(self, target: str, product_id: str) -> float:
        wanted, found = self._words[target], self._words[product_id]
        # Sorted: a sum of floats depends on its order, and a set's order on the process.
        total = sum(self._weight[word] for word in sorted(wanted))
        shared = sum(self._weight[word] for word in sorted(wanted.keys() & found)) / total if total else 0.0
        if shared < _COINCIDENCE:
            return 0.0
        shelf = self._products[target].category
        same_shelf = bool(shelf) and shelf == self._products[product_id].category
        return NEXT_BEST * (0.75 * shared + 0.25 * same_shelf)

    def ask(self, target: str, rng: Random) -> str | None:
        written = self._words[target]
        if not written:
            return None
        words = sorted(written)
        in_title = _words_in(self._products[target].title).keys() & written
        first = rng.choice(sorted(in_title) or words)
        # Shoppers name what sets a thing apart more often than what all things are.
        weights = [self._weight[word] * (2 if word in in_title else 1) for word in words]
        others = rng.choices(words, weights=weights, k=rng.choice((1, 2, 2, 3)))
        return " ".join(written[word] for word in dict.fromkeys((first, *others)))


def _telling_words(product: Product) -> dict[str, str]:
    """A product's words as written, by what they are without their ending."""
    text = " ".join((product.title, product.category, product.brand, *product.attributes.values()))
    return _words_in(text) or dict(list(_words_in(product.description).items())[:30])


def _words_in(text: str) -> dict[str, str]:
    found = re.findall(r"[^\W_]{2,}", text.lower())
    telling = (word for word in found if word not in _EMPTY_WORDS and not word.isdigit())
    return {_without_ending(word): word for word in telling}


def _without_ending(word: str) -> str:
    """The singular, roughly: enough to see that two products share a word."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _say(facet: str, plain: str, rng: Random) -> str:
    names = names_of(facet, plain)
    return rng.choice(names[1:]) if rng.random() < _SYNONYM_SHARE else names[0]


def _photo_of(
    product: Product,
    truth: Mapping[str, Mapping[str, Any]] | None,
    read_picture: ReadPicture,
    rng: Random,
) -> bytes | None:
    """A shopper's own photo: never the bytes that the shop shows."""
    if truth is not None:
        from .drawing import Look, draw_photo

        true = truth[product.product_id]
        look = Look(
            **{name: true[name] for name in ("type", "colour", "second_colour", "pattern", "material")}
        )
        return draw_photo(look, product_seed=product.product_id, scene_seed=f"shopper:{rng.random()}")
    for uri in (*product.image_uris[1:2], *product.image_uris[:1]):
        try:
            return _taken_again(read_picture(uri), rng)
        except (ProductIndexError, OSError, ValueError):
            continue  # this picture cannot be read: the next, or none
    return None


def _taken_again(picture: bytes, rng: Random) -> bytes:
    """The picture as another camera might have seen it: nearer, turned, in other light."""
    from PIL import Image, ImageEnhance

    with Image.open(BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    cut = rng.uniform(0.04, 0.12)
    image = image.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=image.getpixel((0, 0)))
    image = image.crop(
        (round(width * cut), round(height * cut), round(width * (1 - cut)), round(height * (1 - cut)))
    )
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.15))
    out = BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _currency(products: Iterable[Product]) -> str:
    named = Counter(product.currency for product in products if product.currency)
    return named.most_common(1)[0][0] if named else DEFAULT_CURRENCY


def _notices(
    products: Mapping[str, Product], truth: Mapping[str, Any] | None, wishes: Sequence[Wish]
) -> Iterable[str]:
    if truth is None:
        yield "no truth is known for this catalogue: shoppers judge products by the words they have in common"
    unpriced = sum(product.price is None for product in products.values())
    if unpriced:
        yield (
            f"{unpriced} of {len(products)} products have no price: an order of one is counted as "
            f"{BASKET_WITHOUT_PRICES:g} {_currency(products.values())}, which is assumed, not known"
        )
    if all(wish.image is None for wish in wishes):
        yield "no product picture could be read: nobody asks by photo"
