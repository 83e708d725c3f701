"""Journey (b): what changes in the shop is in the index within seconds."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from product_index.catalog import Catalogue
from product_index.pictures import LocalPictures
from product_index.product import Product, ProductChange
from product_index.search import search_products
from streaming.change_log import Outgoing
from streaming.dead_letters import SUFFIX

from .conftest import NOON, Parts
from .walking import consume, publish, rebuild


def change(product: Product | None, version: int, product_id: str = "mug") -> ProductChange:
    """A version of a product; None takes it off the shelf."""
    return ProductChange(
        product_id=product_id if product is None else product.product_id,
        version=version,
        occurred_at=NOON + timedelta(seconds=version),
        product=product,
    )


def test_a_day_of_changes_arrives_in_search(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """New, re-titled, re-priced, removed, late and broken: each as it must be, and the stream goes on."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    topic = parts.topic("product-changes")
    by_id = {row.product_id: row for page in catalogue.pages() for row in page}
    lamp, scarf = by_id["lamp"].product, by_id["scarf"].product
    assert lamp is not None
    assert scarf is not None

    publish(
        parts,
        topic,
        [
            change(Product(product_id="clock", title="Green wall clock"), 1),
            change(replace(lamp, title="Brass reading lamp"), 2),
            change(replace(scarf, price=19.0), 2),
            change(None, 2, "vase"),
        ],
    )
    parts.sink.send([Outgoing(topic=topic, key=b"mug", value=b'{"half a mess')])
    publish(parts, topic, [change(replace(lamp, title="Old lamp"), 1), change(by_id["vase"].product, 1)])
    totals = consume(parts, topic, None, pictures, messages=7)

    def found(text: str) -> list[str]:
        hits = search_products(parts.database, parts.encoder, alias=parts.alias, text=text, limit=10)
        return [hit.product_id for hit in hits]

    store = parts.database.open(parts.alias)
    assert 7 == totals.messages
    assert 1 == totals.by_class["poison"]
    assert "clock" == found("green wall clock")[0]
    assert "lamp" == found("brass reading lamp")[0]
    assert "vase" not in found("blue vase")
    assert 19.0 == store.get(["scarf"])["scarf"].price
    assert 2 == store.fingerprints(["lamp"])["lamp"].version
    dead = parts.reader([topic + SUFFIX]).poll(timeout_s=60.0, max_messages=10)
    assert [b'{"half a mess'] == [letter.value for letter in dead]
