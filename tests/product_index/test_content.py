"""The text the encoder sees, and the hashes of a row."""

import pytest

from product_index.content import MAX_TEXT_SEEN, image_digest, scalar_hash, text_hash, text_seen
from product_index.product import Product


def product(**fields: object) -> Product:
    return Product(product_id="1", **fields)  # type: ignore[arg-type]


def test_the_most_telling_part_comes_first() -> None:
    """An encoder that reads only the beginning loses the description's end."""
    seen = text_seen(
        product(title="Mug", brand="Acme", category="Cups", description="Holds tea.",
                attributes={"material": "clay", "colour": "red"})
    )  # fmt: skip

    assert "Mug\nAcme\nCups\ncolour: red\nmaterial: clay\nHolds tea." == seen


def test_the_same_product_gives_the_same_text_however_it_was_typed() -> None:
    """The order of attributes, white space, and how an accent is coded do not matter."""
    one = product(title="Caf\u00e9  mug", attributes={"a": "1", "b": "2"})
    other = product(title=" Cafe\u0301 mug\n", attributes={"b": "2", "a": "1"})

    assert text_seen(one) == text_seen(other)
    assert text_hash(text_seen(one)) == text_hash(text_seen(other))


def test_a_flag_that_is_on_is_said_by_its_name() -> None:
    assert "Mug\neco friendly" == text_seen(
        product(title="Mug", attributes={"eco_friendly": "Yes", "on_sale": "no", "size": ""})
    )


def test_what_was_said_is_not_said_again() -> None:
    assert "Mug" == text_seen(product(title="Mug", description="Mug", brand=" Mug "))


def test_the_text_is_bounded() -> None:
    assert MAX_TEXT_SEEN == len(text_seen(product(title="mug", description="x" * 50_000)))


def test_a_product_without_words_has_no_text() -> None:
    assert "" == text_seen(product(price=3.0))


def test_the_scalar_hash_changes_with_what_the_row_carries_and_with_nothing_else() -> None:
    base = product(title="Mug", price=3.0)

    assert scalar_hash(base) == scalar_hash(product(title="Mug", price=3.0, description="new"))
    for other in ({"price": 4.0}, {"price": None}, {"in_stock": False}, {"brand": "Acme"}, {"category": "c"}):
        assert scalar_hash(base) != scalar_hash(product(**{"title": "Mug", "price": 3.0, **other}))


def test_a_picture_is_known_by_its_bytes_and_a_missing_one_by_its_name() -> None:
    assert "" == image_digest([], [])
    assert image_digest([b"x"], ["a.jpg"]) == image_digest([b"x"], ["b.jpg"])
    assert image_digest([b"x"], ["a.jpg"]) != image_digest([b"y"], ["a.jpg"])
    missing = image_digest([None], ["a.jpg"])
    assert missing.startswith("missing:")
    assert missing != image_digest([None], ["b.jpg"])
    assert len(missing) <= 96


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("Pursuit Lumaflex&trade; Tone Band", "Pursuit Lumaflex™ Tone Band"),
        ("Salt &amp; Pepper&#39;s &#x1F381;&nbsp; set", "Salt & Pepper's 🎁 set"),
        ("cafe&#769;", "café"),
        ("&amp;lt;3 &amp;amp;", "&lt;3 &amp;"),
        ("Black&Decker, yes&nothing, &copy;", "Black&Decker, yes&nothing, ©"),
        ("R&D; 3&4; &copy &unheard;", "R&D; 3&4; &copy &unheard;"),
    ],
)  # fmt: skip
def test_what_a_web_page_escaped_is_read_once_and_never_twice(typed: str, seen: str) -> None:
    """The product keeps what the shop wrote: passed on by a topic, it is read no further."""
    product = Product(product_id="1", title=typed, attributes={"made of": typed})

    assert [seen, f"made of: {seen}"] == text_seen(product).splitlines()
    assert typed == product.title
