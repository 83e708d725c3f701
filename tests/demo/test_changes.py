"""A day of changes has every class, and says truly what search must show after it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from demo.changes import ARRIVALS, StreamedChange, catalogue_after, make_changes
from demo.shop import make_product
from product_index.errors import PictureMissing
from product_index.product import Product
from recall_plugin.service.shop_search import ShopSearch
from streaming.errors import Unreadable
from streaming.events import change_from_json, encode_change

NOW = datetime(2026, 2, 2, tzinfo=UTC)
MADE = [make_product(7, number) for number in range(60)]
RENDERED = [
    Product(
        **{name: value for name, value in made.listing.items() if name != "updated_at"}
        | {"image_uris": tuple(made.image_names())}
    )
    for made in MADE
]
TRUTH = {
    made.product_id: {
        "product_id": made.product_id,
        "title_style": made.title_style,
        **{
            name: getattr(made.look, name)
            for name in ("type", "colour", "second_colour", "pattern", "material")
        },
    }
    for made in MADE
}
REAL = [
    Product(product_id=f"sku/{n}", title=f"Oak chair {n}", price=None, image_uris=(f"{n}.png",))
    for n in range(20)
]
CLASSES = {"new", "retitled", "rephotographed", "repriced", "deleted", "stale", "poison"}


def read(uri: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 40), (200, 40, 40)).save(out, "PNG")
    return out.getvalue()


def unreadable(uri: str) -> bytes:
    raise PictureMissing(f"no picture {uri!r}")


@pytest.fixture(params=["rendered", "real"])
def day(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Product], list[StreamedChange]]:
    rendered = request.param == "rendered"
    products = RENDERED if rendered else REAL
    truth = TRUTH if rendered else None
    return products, make_changes(
        products, picture_folder=tmp_path, read_picture=read, truth=truth, per_class=10, now=NOW
    )


def test_every_class_is_there(day: tuple[list[Product], list[StreamedChange]]) -> None:
    """The demo shows each class arriving, so each must be sent."""
    counts = Counter(message.label for message in day[1])

    assert CLASSES == counts.keys()
    assert 1 == counts["poison"]


def test_the_same_seed_gives_the_same_messages(tmp_path: Path) -> None:
    """Changes and pictures alike, byte for byte."""
    days = []
    for name in ("one", "two"):
        messages = make_changes(
            RENDERED, picture_folder=tmp_path / name, read_picture=read, truth=TRUTH, now=NOW
        )
        pictures = {path.name: path.read_bytes() for path in (tmp_path / name / ARRIVALS).iterdir()}
        days.append((messages, pictures))

    assert days[0] == days[1]


def test_every_message_can_be_sent_and_read_but_the_poison(
    day: tuple[list[Product], list[StreamedChange]],
) -> None:
    """What is encoded is decoded to the same change; the poison is set aside."""
    for message in day[1]:
        if message.change is None:
            assert message.value is not None
            with pytest.raises(Unreadable):
                change_from_json(message.value)
            continue
        key, value = encode_change(message.change)
        assert message.key == key
        if value is not None:
            assert message.change == change_from_json(value, key=key.decode())


def test_a_late_message_is_older_than_what_was_sent_before(
    day: tuple[list[Product], list[StreamedChange]],
) -> None:
    """It comes after the change that overtook it, and has a lower version."""
    sent: dict[str, StreamedChange] = {}
    for message in day[1]:
        if message.label == "stale":
            before = sent[message.product_id].change
            assert message.change is not None
            assert before is not None
            assert message.change.occurred_at < before.occurred_at
            assert (message.change.version or 0) < (before.version or 1)
        sent[message.product_id] = message


def test_some_removals_have_a_version_and_some_are_null(
    day: tuple[list[Product], list[StreamedChange]],
) -> None:
    """Both forms of removal must arrive."""
    versions = [m.change.version for m in day[1] if m.label == "deleted" and m.change is not None]

    assert None in versions
    assert any(versions)


def test_search_shows_what_each_message_says(
    day: tuple[list[Product], list[StreamedChange]], tmp_path: Path
) -> None:
    """Taken in the order sent, late ones refused, every expectation holds in the shop's own search."""
    products, messages = day
    search = ShopSearch(tmp_path / "funnel.db")
    search.rebuild(products)
    for message in messages:
        if message.change is not None:
            search.apply(message.change)
    for message in messages:
        found = message.product_id in search.search(message.ask_text, limit=1000)
        assert (message.expect_version is not None) == found, message
    assert [] == search.search("never be served older version")
    search.close()


def test_what_is_on_sale_afterwards_is_what_the_expectations_say(
    day: tuple[list[Product], list[StreamedChange]],
) -> None:
    """Shoppers come after the stream: they find the new products and not the deleted ones."""
    products, messages = day
    after, _ = catalogue_after(products, messages)
    on_sale = {product.product_id: product for product in after}

    for message in messages:
        if message.label != "poison":
            assert (message.expect_version is not None) == (message.product_id in on_sale)
        if message.label in ("new", "retitled", "rephotographed", "repriced"):
            assert message.change is not None
            assert message.change.product == on_sale[message.product_id]


def test_each_class_changes_what_its_name_says(day: tuple[list[Product], list[StreamedChange]]) -> None:
    """A new title is another title; a new price another price; new photos are files that can be opened."""
    before = {product.product_id: product for product in day[0]}
    for message in day[1]:
        product = message.change.product if message.change else None
        old = before.get(message.product_id)
        if message.label == "retitled":
            assert product
            assert old
            assert old.title != product.title
        if message.label == "repriced":
            assert product
            assert old
            assert old.price != product.price
        if message.label == "rephotographed":
            assert product
            assert old
            assert not set(old.image_uris) & set(product.image_uris)
        if message.label == "new":
            assert old is None


def test_new_pictures_are_where_the_consumer_looks(tmp_path: Path) -> None:
    """Names are relative to the folder, and the files are pictures."""
    messages = make_changes(REAL, picture_folder=tmp_path, read_picture=read, now=NOW)
    names = [
        uri
        for message in messages
        if message.label in ("new", "rephotographed") and message.change and message.change.product
        for uri in message.change.product.image_uris
    ]

    assert len(names) == 8
    for name in names:
        assert name.startswith(f"{ARRIVALS}/")
        with Image.open(tmp_path / name) as photo:
            photo.load()


def test_a_new_look_is_told_to_the_truth(tmp_path: Path) -> None:
    """Shoppers after the stream know the new products, and the new colours of old ones."""
    messages = make_changes(RENDERED, picture_folder=tmp_path, read_picture=read, truth=TRUTH, now=NOW)
    _, truth = catalogue_after(RENDERED, messages, truth=TRUTH)

    assert truth is not None
    for message in messages:
        if message.label == "new":
            assert truth[message.product_id]["type"]
        if message.label == "rephotographed":
            assert truth[message.product_id]["colour"] != TRUTH[message.product_id]["colour"]
            assert truth[message.product_id]["type"] == TRUTH[message.product_id]["type"]


@pytest.mark.parametrize("reader", [None, unreadable])
def test_a_catalogue_without_pictures_has_the_other_classes(tmp_path: Path, reader: None) -> None:
    """Nothing is photographed again where nothing was photographed."""
    messages = make_changes(REAL, picture_folder=tmp_path, read_picture=reader, now=NOW)

    assert CLASSES - {"rephotographed"} == {message.label for message in messages}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_tiny_catalogue_gets_what_it_can(tmp_path: Path, size: int) -> None:
    """A few products are enough to try a stream on."""
    messages = make_changes(REAL[:size], picture_folder=tmp_path, read_picture=read, now=NOW)

    assert {"new", "rephotographed", "poison"} <= {message.label for message in messages}
    assert (size == 5) == (CLASSES == {message.label for message in messages})


def test_versions_are_newer_than_the_catalogue_and_all_differ(
    day: tuple[list[Product], list[StreamedChange]],
) -> None:
    """Milliseconds of now, one after the other."""
    versions = [m.expect_version for m in day[1] if m.expect_version is not None and m.label != "stale"]

    assert len(versions) == len(set(versions))
    assert min(versions) > int((NOW - timedelta(seconds=1)).timestamp() * 1000)
