"""The search a shop already has: words in, ids out, safe against what shoppers type."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from product_index.product import Product, ProductChange
from product_index.vector_store import Filter
from recall_plugin.service.shop_search import ShopSearch

NOW = datetime(2026, 1, 5, tzinfo=UTC)
PRODUCTS = [
    Product(product_id="m1", title="Striped red mug", category="Kitchen", brand="Norrvik", price=12.0),
    Product(product_id="m2", title="Blue mug", category="Kitchen", brand="Hulmo", price=9.0, in_stock=False),
    Product(product_id="t1", title="Teapot", description="goes with a red mug", category="Kitchen"),
    Product(product_id="l1", title="Model K-204", attributes={"colour": "Verde", "material": "linen"}),
    Product(product_id="c1", title="Café crème set", category="Kitchen", price=30.0),
]


@pytest.fixture
def search(tmp_path: Path) -> Iterator[ShopSearch]:
    search = ShopSearch(tmp_path / "funnel.db")
    search.rebuild(PRODUCTS)
    yield search
    search.close()


def change(
    product_id: str, version: int | None, product: Product | None, *, minutes: int = 0
) -> ProductChange:
    occurred_at = NOW + timedelta(minutes=minutes)
    return ProductChange(product_id=product_id, version=version, occurred_at=occurred_at, product=product)


def test_any_word_finds_and_more_words_rank_higher(search: ShopSearch) -> None:
    """Shoppers' words are alternatives; who has most of them, in the title, comes first."""
    assert {"m1", "m2", "t1"} == set(search.search("red mug"))
    assert "m1" == search.search("red mug")[0]
    assert "m1" == search.search("striped mug in red")[0]


def test_attributes_accents_and_plurals_are_found(search: ShopSearch) -> None:
    """What the seller filled in counts, however it is spelt."""
    assert ["l1"] == search.search("verde linen")
    assert ["c1"] == search.search("cafe creme")
    assert {"m1", "m2", "t1"} == set(search.search("mugs"))


@pytest.mark.parametrize(
    "text",
    [
        '"',
        '"mug',
        "mug AND",
        "NOT mug",
        "mug NEAR/3 red",
        "title:mug",
        "mug*",
        "(mug",
        "mug)",
        "^mug",
        "-mug",
        "+",
        "{mug red}: x",
        "mug; DROP TABLE shelf; --",
        "mug' OR '1'='1",
        "mug\x00red",
        "mug\ud800",
        "🫖 mug",
        "mug " * 5000,
        "_mug_",
    ],
)
def test_no_query_is_syntax(search: ShopSearch, text: str) -> None:
    """Whatever is typed is read as words: nothing raises, and words still find."""
    found = search.search(text)

    assert ("mug" in text) == bool(found)
    assert 5 == len(search)


@pytest.mark.parametrize("text", [None, "", "   ", "!?", "🫖"])
def test_without_words_nothing_is_found(search: ShopSearch, text: str | None) -> None:
    """A query that is only a picture is not for this search."""
    assert [] == search.search(text)


def test_filters_agree_with_the_index(search: ShopSearch) -> None:
    """The same filter means the same in both channels."""
    assert ["m1"] == search.search("mug", where=Filter(brand="Norrvik"))
    assert {"m1", "t1"} == set(search.search("mug", where=Filter(in_stock=True)))
    assert ["m2"] == search.search("mug", where=Filter(price_max=10))
    assert [] == search.search("verde", where=Filter(category="Kitchen"))


def test_the_limit_cuts_from_below(search: ShopSearch) -> None:
    """Best first: a shorter list is the head of a longer one."""
    assert search.search("red mug")[:1] == search.search("red mug", limit=1)
    assert [] == search.search("red mug", limit=0)


def test_changes_arrive_and_older_ones_do_not(search: ShopSearch) -> None:
    """The funnel keeps to the order of versions, as the index does."""
    search.apply(change("m1", 5, Product(product_id="m1", title="Zigzag jug")))
    search.apply(change("m1", 4, Product(product_id="m1", title="Old mug")))
    search.apply(change("n1", 1, Product(product_id="n1", title="Umbrella")))

    assert ["m1"] == search.search("zigzag")
    assert [] == search.search("striped old")
    assert ["n1"] == search.search("umbrella")


@pytest.mark.parametrize("version", [7, None])
def test_a_late_change_does_not_bring_a_removed_product_back(search: ShopSearch, version: int | None) -> None:
    """Also where the removal came without a version."""
    search.apply(change("m1", version, None, minutes=1))
    search.apply(change("m1", 0, Product(product_id="m1", title="Striped red mug")))

    assert [] == search.search("striped")
    assert 4 == len(search)


def test_rebuilding_forgets_what_was(search: ShopSearch) -> None:
    """A funnel of another catalogue holds nothing of this one."""
    search.apply(change("m1", 9, None))
    search.rebuild(PRODUCTS[:1])

    assert ["m1"] == search.search("red mug blue teapot")


def test_threads_may_search_while_another_writes(search: ShopSearch) -> None:
    """The plugin may ask from its own threads."""
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(search.search, "red mug") for _ in range(50)]
        for number in range(50):
            search.apply(change(f"x{number}", 1, Product(product_id=f"x{number}", title="Vase")))

    assert all({"m1", "m2", "t1"} == set(answer.result()) for answer in answers)


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    """A funnel in a file serves the next process too."""
    first = ShopSearch(tmp_path / "funnel.db")
    first.rebuild(PRODUCTS)
    first.close()
    second = ShopSearch(tmp_path / "funnel.db")

    assert ["l1"] == second.search("k 204")
    second.close()
