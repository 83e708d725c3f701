"""What every vector store promises, in memory and in Milvus alike."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from product_index.errors import CollectionInUse, InvalidVector, StoreUnavailable, UnknownCollection
from product_index.vector_store import CollectionSpec, Filter, VectorDatabase, VectorStore
from tests.product_index.rows import SPEC, row, unit

NASTY = 'it\'s "red" \\ blue\n" or deleted == true or "" == "'


@pytest.fixture(
    params=["memory", *(pytest.param(one, marks=pytest.mark.milvus) for one in ("folder", "server", "real"))]
)
def kind(request: pytest.FixtureRequest) -> str:
    """All of them."""
    return str(request.param)


def found(store: VectorStore, **options: object) -> list[str]:
    store.count()  # a strong read: a search may answer behind the writes, but not behind this
    where = Filter(**options) if options else None  # type: ignore[arg-type]
    return [hit.product_id for hit in store.search(unit(0)[None], limit=50, where=where)[0]]


def test_a_row_comes_back_as_it_was_written(store: VectorStore) -> None:
    """Every field, and every bit of the vector."""
    written = row(
        "mug", seed=3, version=7, title="Mug é 杯", category="cups", brand="Acme", price=0.1, in_stock=False
    )
    store.upsert([written])

    stored = store.get(["mug", "nobody"])

    assert ["mug"] == list(stored)
    assert written.vector.tobytes() == stored["mug"].vector.tobytes()
    assert written.fingerprint == stored["mug"].fingerprint == store.fingerprints(["mug"])["mug"]
    for field in ("product_id", "title", "category", "brand", "price", "in_stock", "indexed_at_ms"):
        assert getattr(written, field) == getattr(stored["mug"], field)


def test_a_price_that_is_not_told_stays_untold(store: VectorStore) -> None:
    """None is not zero: a free product is cheap, one without a price is unknown."""
    store.upsert([row("free", price=0.0), row("unknown", price=None)])

    stored = store.get(["free", "unknown"])

    assert 0.0 == stored["free"].price
    assert stored["unknown"].price is None
    assert ["free"] == found(store, price_max=1.0)
    assert ["free"] == found(store, price_min=0.0)


def test_writing_twice_is_writing_once_and_the_last_wins(store: VectorStore) -> None:
    """In one call or in two."""
    store.upsert([row("mug", seed=1, version=1), row("mug", seed=2, version=2)])
    store.upsert([row("mug", seed=2, version=2)])

    assert 1 == store.count()
    assert 2 == store.fingerprints(["mug"])["mug"].version
    assert unit(2).tobytes() == store.get(["mug"])["mug"].vector.tobytes()


def test_a_new_collection_is_filled_and_holds_what_was_written(store: VectorStore) -> None:
    """As by `upsert`, to the bit; what no search could trust is refused here, too."""
    written = [row(f"p{n}", seed=n, version=n, title="é" * n, price=None if n else 0.5) for n in range(5)]

    store.fill(written[:3])
    store.fill(written[3:])
    with pytest.raises(InvalidVector, match="p6"):
        store.fill([row("p5"), row("p6", vector=unit(6) * 2)])

    (stored,) = store.rows()
    assert [f"p{n}" for n in range(5)] == [one.product_id for one in stored]
    for one, other in zip(written, stored, strict=True):
        assert one.vector.tobytes() == other.vector.tobytes()
        assert replace(one, vector=other.vector) == other


def test_an_amendment_leaves_the_vector_and_what_it_is_of(store: VectorStore) -> None:
    """To the bit; everything else is as told, and a row that is not stored fails the call."""
    if not store.amends:
        return  # it writes whole rows only, which test_refresh.py shows
    store.upsert([row("mug", seed=3, version=7, title="Mug", price=5.0), row("jug", deleted=True)])
    told = row("mug", version=8, title="MUG", price=None, in_stock=False, brand="Acme", vector=np.zeros(0))
    other = replace(told.fingerprint, text_hash="z" * 64, image_digest="", model_id="other")

    store.amend([replace(told, fingerprint=other, indexed_at_ms=9), row("jug", version=2)])

    stored = store.get(["mug", "jug"])
    assert replace(told, vector=stored["mug"].vector, indexed_at_ms=9) == stored["mug"]
    assert unit(3).tobytes() == stored["mug"].vector.tobytes()
    assert not stored["jug"].fingerprint.deleted
    with pytest.raises(StoreUnavailable):
        store.amend([row("nobody")])
    assert ["jug", "mug"] == sorted(found(store))


def test_a_vector_that_no_search_could_trust_is_refused_with_its_batch(store: VectorStore) -> None:
    """Not a number, infinite, zero, too long, of another dimension: nothing of the call is written."""
    for vector in (
        np.full(16, np.nan, dtype=np.float32),
        np.full(16, np.inf, dtype=np.float32),
        np.zeros(16, dtype=np.float32),
        unit(0) * 2,
        unit(0, 8),
    ):
        with pytest.raises(InvalidVector, match="mug"):
            store.upsert([row("good"), row("mug", vector=vector)])

    assert 0 == store.count()


def test_the_nearest_comes_first_and_scores_are_cosines(store: VectorStore) -> None:
    store.upsert(
        [row(f"p{seed}", seed=seed, title=f"product {seed}", version=seed + 1) for seed in range(40)]
    )
    assert 40 == store.count()
    vectors = np.stack([unit(seed) for seed in range(40)])

    lists = store.search(vectors[:3], limit=5)

    assert [5, 5, 5] == [len(hits) for hits in lists]
    for place, hits in enumerate(lists):
        exact = np.sort(vectors @ vectors[place])[::-1][:5]
        assert f"p{place}" == hits[0].product_id
        assert f"product {place}" == hits[0].title
        assert place + 1 == hits[0].version
        assert exact == pytest.approx([hit.score for hit in hits], abs=1e-5)


def test_equal_scores_are_in_order_of_product_id(store: VectorStore) -> None:
    """The same question gets the same answer, also where the list is cut."""
    store.upsert([row(name, seed=5) for name in ["d", "b", "e", "a", "c"]])
    assert 5 == store.count()

    assert ["a", "b", "c"] == [hit.product_id for hit in store.search(unit(5)[None], limit=3)[0]]


def test_tombstones_are_kept_but_never_found_nor_counted(store: VectorStore) -> None:
    store.upsert([row("here"), row("gone", deleted=True)])

    assert ["here"] == found(store)
    assert 1 == store.count()
    assert store.fingerprints(["gone"])["gone"].deleted
    assert ["gone", "here"] == [row.product_id for page in store.rows() for row in page]


def test_old_tombstones_are_forgotten_and_nothing_else(store: VectorStore) -> None:
    """Not a young one, and not a row that is old but sold."""
    written = {"old": 1_000, "young": 9_000}
    store.upsert([replace(row(key, deleted=True), indexed_at_ms=at) for key, at in written.items()])
    store.upsert([replace(row("sold"), indexed_at_ms=1_000)])

    assert 1 == store.forget_tombstones(before=datetime.fromtimestamp(5, UTC))
    assert 0 == store.forget_tombstones(before=datetime.fromtimestamp(5, UTC))

    assert {"young", "sold"} == set(store.fingerprints(["old", "young", "sold"]))


def test_what_was_written_lately_can_be_counted(store: VectorStore) -> None:
    """Of everything that can be found; the moment itself counts."""
    store.upsert(
        [replace(row(key), indexed_at_ms=at) for key, at in (("a", 999), ("b", 1_000), ("c", 5_000))]
    )
    store.upsert([replace(row("gone", deleted=True), indexed_at_ms=6_000)])

    assert [3, 2, 0] == [store.count(since=datetime.fromtimestamp(at, UTC)) for at in (0, 1, 5.5)]


def test_filters_agree_with_the_rule(store: VectorStore) -> None:
    """`Filter.allows` is the rule; every store's own language must agree with it."""
    rows = [
        row(f"p{n}", category=["cups", "plates"][n % 2], brand=["Acme", "", NASTY][n % 3],
            price=None if n % 5 == 0 else float(n), in_stock=n % 4 != 0)
        for n in range(24)
    ]  # fmt: skip
    store.upsert(rows)

    for options in (
        {"category": "cups"},
        {"brand": ""},
        {"in_stock": False},
        {"price_min": 7.0},
        {"price_max": 7.0},
        {"price_min": -1.0},
        {"category": "plates", "brand": "Acme", "price_min": 2.0, "price_max": 15.0, "in_stock": True},
        {"category": "none such"},
    ):
        allowed = sorted(one.product_id for one in rows if Filter(**options).allows(one))  # type: ignore[arg-type]
        assert allowed == sorted(found(store, **options)), options


def test_a_filter_value_never_becomes_part_of_the_question(store: VectorStore) -> None:
    """Quotes and backslashes of a shopper's filter find what is called so, and nothing else."""
    names = [NASTY, '"', "\\", "'", "杯 ☕", 'x" == "x', "{a}", "%", "\\'", "\\n"]
    store.upsert([row("other", brand="Acme"), row("gone", brand=NASTY, deleted=True)])
    store.upsert([row(f"p{place}", brand=name) for place, name in enumerate(names)])

    for place, name in enumerate(names):
        assert [f"p{place}"] == found(store, brand=name), name
        assert [] == found(store, category=name), name


def test_an_id_with_quotes_is_an_id_like_any_other(store: VectorStore) -> None:
    names = ['a"b', "a\\b", "a'b", "杯", 'x"] or product_id in ["other']
    store.upsert([row(name) for name in [*names, "other"]])

    assert set(names) == set(store.fingerprints(names))


def test_all_rows_come_page_by_page_in_key_order(store: VectorStore) -> None:
    store.upsert([row(f"p{n:02}", deleted=n == 3) for n in range(25)])

    pages = list(store.rows(page_size=10))

    assert [10, 10, 5] == [len(page) for page in pages]
    assert [f"p{n:02}" for n in range(25)] == [row.product_id for page in pages for row in page]


def test_an_empty_collection_answers_with_nothing(store: VectorStore) -> None:
    assert 0 == store.count()
    assert [[]] == store.search(unit(0)[None], limit=3)
    assert {} == store.get(["mug"]) == store.fingerprints([])
    assert [] == [row for page in store.rows() for row in page]


def test_readers_follow_the_alias_and_learn_the_model(database: VectorDatabase) -> None:
    database.create("products_v1", SPEC).upsert([row("old")])
    newer = CollectionSpec(dimension=8, model_id='of "quotes"', preprocess_version="words-2")
    database.create("products_v2", newer).flush()
    database.switch("products", "products_v1")

    assert ("products_v1", SPEC) == (database.open("products").name, database.open("products").spec)
    assert ["old"] == found(database.open("products"))

    database.switch("products", "products_v2")

    assert "products_v2" == database.resolve("products")
    assert newer == database.open("products").spec
    assert ["products_v1", "products_v2"] == database.names()
    assert database.resolve("products_v1") is None


def test_what_is_served_is_never_dropped(database: VectorDatabase) -> None:
    """Not by its name and not by its alias."""
    database.create("products_v1", SPEC).upsert([row("old")])
    database.create("products_v2", SPEC)
    database.switch("products", "products_v1")

    for name in ("products", "products_v1"):
        with pytest.raises(CollectionInUse, match=r"products_v1|alias"):
            database.drop(name)
    with pytest.raises(CollectionInUse):
        database.create("products_v1", SPEC)
    database.drop("products_v2")

    assert ["products_v1"] == database.names()
    assert 1 == database.open("products").count()


def test_an_alias_and_a_collection_never_share_a_name(database: VectorDatabase) -> None:
    """Who has the name keeps it; nothing is moved, nothing is dropped."""
    database.create("products_v1", SPEC).upsert([row("old")])

    with pytest.raises(CollectionInUse, match="PRODUCT_ALIAS"):
        database.switch("products_v1", "products_v1")
    database.switch("products", "products_v1")
    with pytest.raises(CollectionInUse, match="alias"):
        database.create("products", SPEC)

    assert (["products_v1"], "products_v1") == (database.names(), database.resolve("products"))


def test_what_is_not_there_is_named(database: VectorDatabase) -> None:
    with pytest.raises(UnknownCollection, match="nowhere"):
        database.open("nowhere")
    with pytest.raises(UnknownCollection, match="nowhere"):
        database.switch("products", "nowhere")
    database.drop("nowhere")


def test_making_a_collection_again_starts_it_empty(database: VectorDatabase) -> None:
    """A left-over of an interrupted build is no base for the next."""
    database.create("products_v1", SPEC).upsert([row("old")])

    assert 0 == database.create("products_v1", SPEC).count()
