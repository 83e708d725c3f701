"""A day's changes to a catalogue, of every class a stream must cope with.

New products, better titles, other photos, other prices, removals, messages
that come too late, and one that is no message at all; each says what search
must show once all have been taken. New pictures are written to a folder that
the consumer can read. Nothing is sent from here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Literal

from product_index.errors import ProductIndexError
from product_index.product import Product, ProductChange

from .drawing import Look, distinct_seconds, draw_photo
from .sellers import write_title
from .shop import make_product
from .tastes import ReadPicture
from .words import BRANDS, COLOURS

Label = Literal["new", "retitled", "rephotographed", "repriced", "deleted", "stale", "poison"]
ARRIVALS = "arrivals"
# Shops are rendered with small seeds; arrivals of a stream come from beyond.
_ARRIVAL_SEEDS = 1_000_000
# A late message was written this long before the one that overtook it.
_LATE = timedelta(minutes=5)
_POISON = b'{"schema_version": 1, "op": "upsert", "product_id": '


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedChange:
    """One message, and what to look for afterwards.

    Attributes:
        change: what the message says; None for the poison.
        value: the raw bytes of the poison; None: encode the change.
        ask_text, ask_image: a query that finds the product; the image is a
            picture name under the picture root.
        expect_version: the version that search must show for the product after
            the whole stream; None: it must not be found.
        truth: what is true of the product from now on, where that is known and new.
    """

    label: Label
    key: bytes
    change: ProductChange | None
    value: bytes | None = None
    ask_text: str | None = None
    ask_image: str | None = None
    expect_version: int | None = None
    truth: Mapping[str, Any] | None = None

    @property
    def product_id(self) -> str:
        """Whose change it is; the poison names nobody that exists."""
        return self.key.decode()


def make_changes(
    products: Sequence[Product],
    *,
    picture_folder: Path,
    read_picture: ReadPicture | None,
    truth: Mapping[str, Mapping[str, Any]] | None = None,
    per_class: int = 40,
    seed: int = 7,
    now: datetime,
) -> list[StreamedChange]:
    """Draw the changes, in the order to send them.

    Every class is there if the catalogue has five products and a picture; a
    smaller one gets fewer classes.

    Args:
        products: what is on sale.
        picture_folder: a folder under which the consumer finds pictures; `arrivals/` is made in it.
        read_picture: how to read the catalogue's pictures; None: nothing is photographed again.
        truth: from `shop.read_truth`; None for a real catalogue.
        per_class: how many of each class at most; there is one poison message.
        seed: another seed, other changes.
        now: versions are its milliseconds: newer than any version of the catalogue.
    """
    rng = Random(f"changes:{seed}")
    studio = _Studio(folder=picture_folder, read=read_picture, truth=truth, rng=rng)
    count = max(1, min(per_class, len(products) // 5))
    pool = rng.sample(list(products), k=len(products))
    if truth is not None:
        # Who said nothing has the most to say: they come first, to be photographed and titled.
        pool.sort(
            key=lambda product: truth.get(product.product_id, {}).get("title_style") not in ("silent", "bare")
        )
    clock = _Clock(now)
    first = [
        *(_rephotographed(product, studio, clock, number) for number, product in enumerate(pool[:count])),
        *(_retitled(product, studio, clock) for product in pool[count : 2 * count]),
        *(_repriced(product, clock, rng) for product in pool[2 * count : 3 * count]),
        *(_deleted(product, clock, number) for number, product in enumerate(pool[3 * count : 4 * count])),
        *_new(pool, studio, clock, count=count, seed=seed),
    ]
    sent = [message for message in first if message is not None]
    rng.shuffle(sent)
    overtaken = [message for message in sent if message.label in ("retitled", "deleted")]
    by_id = {product.product_id: product for product in products}
    late = [_stale(message, by_id[message.product_id], now) for message in overtaken[:count]]
    poison = StreamedChange(label="poison", key=b"poison", change=None, value=_POISON)
    return [*sent[: len(sent) // 2], poison, *sent[len(sent) // 2 :], *late]


def catalogue_after(
    products: Sequence[Product],
    messages: Sequence[StreamedChange],
    *,
    truth: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[list[Product], dict[str, Mapping[str, Any]] | None]:
    """What is on sale, and what is true of it, once all messages have been taken in their right order."""
    shelf = {product.product_id: product for product in products}
    known = None if truth is None else dict(truth)
    for message in messages:
        if message.change is None or message.label == "stale":
            continue
        if message.change.product is None:
            shelf.pop(message.product_id, None)
        else:
            shelf[message.product_id] = message.change.product
        if known is not None and message.truth is not None:
            known[message.product_id] = message.truth
    return list(shelf.values()), known


class _Clock:
    """One millisecond a change: no two versions alike."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._ticks = 0

    def change(self, product_id: str, product: Product | None) -> ProductChange:
        self._ticks += 1
        moment = self._now + timedelta(milliseconds=self._ticks)
        version = int(moment.timestamp() * 1000)
        return ProductChange(product_id=product_id, version=version, occurred_at=moment, product=product)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Studio:
    """Takes new pictures, and knows the truth where there is one."""

    folder: Path
    read: ReadPicture | None
    truth: Mapping[str, Mapping[str, Any]] | None
    rng: Random

    def look(self, product_id: str) -> Look | None:
        true = (self.truth or {}).get(product_id)
        if true is None:
            return None
        return Look(**{name: true[name] for name in Look.__dataclass_fields__})

    def keep(self, name: str, picture: bytes) -> str:
        path = self.folder / ARRIVALS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        return f"{ARRIVALS}/{name}"

    def recoloured(self, product: Product) -> bytes | None:
        """The product's own picture in another colour, mirrored; None where it has none that can be read."""
        if self.read is None:
            return None
        for uri in product.image_uris:
            try:
                return _recolour(self.read(uri), self.rng)
            except (ProductIndexError, OSError, ValueError):
                continue  # the next picture may be readable
        return None


def _new(
    pool: Sequence[Product], studio: _Studio, clock: _Clock, *, count: int, seed: int
) -> Iterator[StreamedChange]:
    known = {product.product_id for product in pool}
    for number in range(count):
        if studio.truth is not None:
            arrival = make_product(_ARRIVAL_SEEDS + seed, number)
            picture = arrival.photo()
            true = asdict(arrival.look) | {"title_style": arrival.title_style}
            listing = {name: value for name, value in arrival.listing.items() if name != "updated_at"}
            product = Product(**listing)
        else:
            model = pool[number % len(pool)]
            repainted = studio.recoloured(model)
            picture, true = repainted or b"", {}
            product = replace(model, product_id=f"{model.product_id[:200]}-new-{number}", image_uris=())
        if product.product_id in known:
            continue
        images = (studio.keep(f"new-{number:04d}.jpg", picture),) if picture else ()
        if not images and not (product.title or product.description):
            continue  # nothing to embed: no product to add
        change = clock.change(product.product_id, replace(product, image_uris=images))
        yield _message(
            "new",
            change,
            truth={"product_id": product.product_id, **true, "images": list(images)} if true else None,
        )


def _rephotographed(product: Product, studio: _Studio, clock: _Clock, number: int) -> StreamedChange | None:
    """The seller now has it in another colour, and shows that."""
    look = studio.look(product.product_id)
    true: dict[str, Any] | None = None
    if look is not None:
        others = [
            name for name in COLOURS if name != look.colour and look.second_colour in distinct_seconds(name)
        ]
        look = replace(look, colour=studio.rng.choice(others))
        picture = draw_photo(look, product_seed=product.product_id, scene_seed=f"again:{number}")
        true = {**(studio.truth or {})[product.product_id], **asdict(look)}
    else:
        repainted = studio.recoloured(product)
        if repainted is None:
            return None
        picture = repainted
    images = (studio.keep(f"again-{number:04d}.jpg", picture),)
    change = clock.change(product.product_id, replace(product, image_uris=images))
    return _message("rephotographed", change, truth=true and true | {"images": list(images)})


def _retitled(product: Product, studio: _Studio, clock: _Clock) -> StreamedChange:
    """The seller now says what it is; or, in a real catalogue, adds a line's name."""
    look, rng = studio.look(product.product_id), studio.rng
    line = rng.choice(BRANDS)
    title = (
        f"{write_title(look, 'rich', '', rng)} {line}" if look else f"{product.title} {line} edition".strip()
    )
    return _message("retitled", clock.change(product.product_id, replace(product, title=title)))


def _repriced(product: Product, clock: _Clock, rng: Random) -> StreamedChange:
    price = round((product.price or 25.0) * rng.choice((0.7, 0.8, 0.9, 1.1)), 2)
    if price == product.price:
        price += 1.0
    return _message("repriced", clock.change(product.product_id, replace(product, price=price)))


def _deleted(product: Product, clock: _Clock, number: int) -> StreamedChange:
    """Every fourth removal is a null value, which has no version."""
    change = clock.change(product.product_id, None)
    if number % 4 == 3:
        change = replace(change, version=None)
    return _message("deleted", change, last=product)


def _stale(message: StreamedChange, before: Product, now: datetime) -> StreamedChange:
    """What the product was before, sent after what it is now."""
    written = now - _LATE
    change = ProductChange(
        product_id=before.product_id,
        version=int(written.timestamp() * 1000)
        if message.change and message.change.version is not None
        else 0,
        occurred_at=written,
        product=replace(before, description="An older version of this product, which must never be served."),
    )
    return replace(message, label="stale", change=change, truth=None)


def _message(
    label: Label,
    change: ProductChange,
    *,
    last: Product | None = None,
    truth: Mapping[str, Any] | None = None,
) -> StreamedChange:
    shown = change.product or last
    return StreamedChange(
        label=label,
        key=change.product_id.encode(),
        change=change,
        ask_text=(shown.title or shown.description or None) if shown else None,
        ask_image=shown.image_uris[0] if shown and shown.image_uris else None,
        expect_version=None if change.product is None else change.version,
        truth=truth,
    )


def _recolour(picture: bytes, rng: Random) -> bytes:
    from PIL import Image, ImageOps

    with Image.open(BytesIO(picture)) as opened:
        hue, strength, light = opened.convert("HSV").split()
    turn = rng.randint(60, 190)
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    out = BytesIO()
    ImageOps.mirror(Image.merge("HSV", (hue, strength, light)).convert("RGB")).save(out, "JPEG", quality=85)
    return out.getvalue()
