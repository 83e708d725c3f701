"""Which change needs what, and that older never replaces newer."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from product_index.content import MISSING
from product_index.encoder import Content, HashEncoder, UnreadablePicture, Vectors
from product_index.errors import EncoderUnavailable, ModelMismatch, StoreUnavailable
from product_index.in_memory import InMemoryVectorStore
from product_index.pictures import NoPictures
from product_index.product import ProductChange
from product_index.receipt import Receipt
from product_index.refresh import apply_changes, refresh_page
from product_index.standing import coalesce
from product_index.vector_store import Fingerprint, ProductVector, VectorDatabase, VectorStore
from tests.product_index.rows import NOON, SPEC, change, removal

PICTURES = {"mug.jpg": b"a red mug", "new.jpg": b"a blue mug", "torn.jpg": b"broken"}


class CountingEncoder(HashEncoder):
    """Counts what it embeds; refuses what is poison."""

    def __init__(self, dimension: int = 16) -> None:
        super().__init__(dimension)
        self.embedded = 0
        self.poison = "poison"

    def embed(self, contents: Sequence[Content]) -> Vectors:
        if any(self.poison in (content.text or "") for content in contents):
            raise RuntimeError("the graph gave up")
        self.embedded += len(contents)
        return super().embed(contents)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def store(database: VectorDatabase) -> VectorStore:
    return database.create("products_v1", SPEC)


class Index:
    """A store and an encoder, told of changes."""

    def __init__(self, encoder: HashEncoder) -> None:
        self.encoder = encoder
        self.store = InMemoryVectorStore("products_v1", SPEC)
        self.pictures = dict(PICTURES)

    def tell(self, *changes: ProductChange, now: datetime = NOON) -> Receipt:
        return apply_changes(changes, self.encoder, self.store, NoPictures(self.pictures), now=now)

    def row(self, product_id: str):  # type: ignore[no-untyped-def]
        return self.store.get([product_id])[product_id]


@pytest.fixture
def index(encoder: CountingEncoder) -> Index:
    return Index(encoder)


def test_a_new_product_is_embedded_and_found(store: VectorStore, encoder: CountingEncoder) -> None:
    receipt = apply_changes(
        [change("mug", title="red mug", price=9.5, brand="Acme")], encoder, store, NoPictures(), now=NOON
    )

    assert (1, 1) == (receipt.embedded, receipt.written)
    hit = store.search(encoder.embed([Content(text="red mug acme")]), limit=1)[0][0]
    assert ("mug", "red mug", 9.5, 1) == (hit.product_id, hit.title, hit.price, hit.version)


def test_a_price_change_skips_the_encoder_and_keeps_every_bit_of_the_vector(
    store: VectorStore, encoder: CountingEncoder
) -> None:
    pictures = NoPictures(PICTURES)
    first = change("mug", price=9.0, image_uris=("mug.jpg",))
    apply_changes([first], encoder, store, pictures, now=NOON)
    before = store.get(["mug"])["mug"]

    second = change("mug", version=2, price=7.0, in_stock=False, image_uris=("mug.jpg",))
    receipt = apply_changes([second], encoder, store, pictures, now=NOON)

    after = store.get(["mug"])["mug"]
    assert (1, 1) == (receipt.scalar, encoder.embedded)
    assert before.vector.tobytes() == after.vector.tobytes()
    assert (7.0, False, 2) == (after.price, after.in_stock, after.fingerprint.version)


def test_where_only_whole_rows_are_written_they_are_read_once(index: Index) -> None:
    """A price needs the vector there: one question brings it with the fingerprint."""
    asked: list[str] = []

    class WholeRows(InMemoryVectorStore):
        amends = False

        def get(self, product_ids: Sequence[str]) -> dict[str, ProductVector]:
            asked.append("get")
            return super().get(product_ids)

        def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
            asked.append("fingerprints")
            return super().fingerprints(product_ids)

        def amend(self, rows: object) -> None:
            raise AssertionError("it said that it does not")

    index.store = WholeRows("products_v1", SPEC)
    index.tell(change("mug", price=9.0), change("jug"))
    before, told = index.row("mug"), len(asked)

    receipt = index.tell(change("mug", version=2, price=7.0), removal("jug", version=2))

    assert ["get"] == asked[told:]
    assert (1, 1) == (receipt.scalar, receipt.deleted)
    assert (7.0, before.vector.tobytes()) == (index.row("mug").price, index.row("mug").vector.tobytes())


def test_an_older_change_never_replaces_a_newer_one(index: Index) -> None:
    """Nor does an equal one; time decides between equal versions."""
    index.tell(change("mug", version=3, title="new"))

    receipts = [
        index.tell(change("mug", version=2, title="old", minute=9)),
        index.tell(change("mug", version=3, title="same")),
        index.tell(change("mug", version=3, title="earlier", minute=-1)),
        index.tell(removal("mug", version=2, minute=9)),
    ]

    assert [1, 1, 1, 1] == [receipt.stale for receipt in receipts]
    assert "new" == index.row("mug").title
    index.tell(change("mug", version=3, title="later", minute=1))
    assert "later" == index.row("mug").title


def test_a_deleted_product_is_not_brought_back_by_an_older_change(index: Index) -> None:
    index.tell(change("mug", version=3))
    assert 1 == index.tell(removal("mug", version=4)).deleted

    assert 1 == index.tell(change("mug", version=2, minute=9)).stale
    assert 1 == index.tell(change("mug", version=4)).stale
    assert 0 == index.store.count()
    assert 1 == index.tell(change("mug", version=5)).written
    assert 1 == index.store.count()


def test_a_removal_without_a_version_follows_what_is_stored(index: Index) -> None:
    """A null value on the topic has a time, but no version."""
    index.tell(change("mug", version=7, minute=5))

    assert 1 == index.tell(removal("mug", minute=4)).stale
    assert 1 == index.store.count()
    assert 1 == index.tell(removal("mug", minute=5)).deleted
    assert 7 == index.row("mug").fingerprint.version
    assert 1 == index.tell(change("mug", version=7, minute=5)).stale, "a replay of what was deleted"
    assert 1 == index.tell(removal("mug", minute=8)).stale, "deleting twice is deleting once"
    assert 1 == index.tell(change("mug", version=8, minute=9)).written


def test_a_removal_of_an_unknown_product_leaves_a_fence(index: Index) -> None:
    assert 1 == index.tell(removal("mug", version=4)).deleted
    assert 1 == index.tell(change("mug", version=3)).stale
    assert 1 == index.tell(change("cup", version=9), removal("cup", minute=1)).deleted
    assert 1 == index.tell(change("cup", version=9)).stale, "the fence knows the version it followed"


def test_only_the_latest_of_a_batch_is_applied(index: Index) -> None:
    """Among equals the later in the sequence."""
    receipt = index.tell(
        change("mug", version=2, title="newest"),
        change("cup", title="first"),
        change("mug", version=1, title="oldest"),
        change("cup", title="second"),
    )

    assert (2, 1, 1) == (receipt.embedded, receipt.superseded, receipt.stale)
    assert ("newest", "second") == (index.row("mug").title, index.row("cup").title)


def some_changes(chance: random.Random) -> list[ProductChange]:
    """A few changes of one product in any order; what has a higher version did happen later."""
    told = []
    for _ in range(5):
        version = chance.randrange(1, 5)
        if chance.random() < 0.4:
            shown = version if chance.random() < 0.5 else None
            told.append(removal("mug", version=shown, minute=2 * version + 1))
        else:
            told.append(change("mug", version=version, minute=2 * version))
    return told


def place(index: Index) -> tuple[int, int, bool]:
    stamp = index.row("mug").fingerprint
    return stamp.version, stamp.occurred_at_ms, stamp.deleted


def test_one_batch_or_many_end_the_same(encoder: CountingEncoder) -> None:
    """However a stream is cut into batches."""
    chance = random.Random(5)
    for _ in range(50):
        told = some_changes(chance)
        one_by_one, at_once = Index(encoder), Index(encoder)
        for one in told:
            one_by_one.tell(one)
        at_once.tell(*told)

        assert place(one_by_one) == place(at_once), told


def test_a_large_call_is_worked_off_in_pages_and_ends_the_same(
    encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next page is asked for while one is written; no product is in two."""
    told = [
        change(f"p{number % 10}", version=version, minute=version, title=f"mug {number // 7}")
        for number, version in enumerate(random.Random(7).choices(range(1, 9), k=60))
    ]
    whole, paged = Index(encoder), Index(encoder)
    receipt = whole.tell(*told)
    monkeypatch.setattr("product_index.refresh.PAGE_PRODUCTS", 3)

    in_pages = paged.tell(*told)

    assert replace(receipt, took_ms=0) == replace(in_pages, took_ms=0)
    assert 60 == in_pages.written + in_pages.stale + in_pages.superseded
    ids = [f"p{number}" for number in range(10)]
    assert whole.store.fingerprints(ids) == paged.store.fingerprints(ids)


def test_a_stream_that_is_played_again_changes_nothing(encoder: CountingEncoder) -> None:
    """At least once is once: a crash before the commit brings the same messages, in order."""
    chance = random.Random(6)
    for _ in range(50):
        told = sorted(some_changes(chance), key=lambda one: one.occurred_at)
        index = Index(encoder)
        index.tell(*told)
        before = place(index)
        for one in told:
            index.tell(one)

        assert before == place(index), told


def test_nothing_new_but_the_version_moves_the_fence_alone(index: Index) -> None:
    index.tell(change("mug", version=1))

    receipt = index.tell(change("mug", version=2))

    assert (1, 0) == (receipt.unchanged, receipt.scalar)
    assert 2 == index.row("mug").fingerprint.version
    assert 1 == index.encoder.embedded  # type: ignore[attr-defined]


def test_new_text_or_a_new_picture_is_embedded_again(index: Index) -> None:
    index.tell(change("mug", image_uris=("mug.jpg",)))
    first = index.row("mug").vector

    assert 1 == index.tell(change("mug", version=2, image_uris=("new.jpg",))).embedded
    second = index.row("mug").vector
    assert 1 == index.tell(change("mug", version=3, title="blue mug", image_uris=("new.jpg",))).embedded

    assert not np.array_equal(first, second)
    assert not np.array_equal(second, index.row("mug").vector)


@pytest.mark.parametrize("uri", ["late.jpg", "torn.jpg"], ids=["absent", "unreadable"])
def test_a_picture_that_cannot_be_had_is_told_and_asked_for_again(index: Index, uri: str) -> None:
    """Its product is embedded from its text, and not replaced by a grey picture."""
    seen = change("mug", title="red mug", image_uris=(uri,))
    receipt = index.tell(seen)

    assert 1 == receipt.embedded
    assert uri in receipt.notes[0]
    assert index.row("mug").fingerprint.image_digest.startswith(MISSING)
    assert index.encoder.embed([Content(text="red mug")])[0].tobytes() == index.row("mug").vector.tobytes()
    assert 1 == index.tell(seen).stale, "it is still not there"

    index.pictures[uri] = b"a red mug"

    assert 1 == index.tell(seen).embedded
    assert not index.row("mug").fingerprint.image_digest.startswith(MISSING)
    assert 1 == index.tell(seen).stale


def test_one_product_that_cannot_be_embedded_never_takes_its_batchmates_with_it(index: Index) -> None:
    changes = [change(f"p{n}") for n in range(9)]
    changes[3] = change("p3", title="poison")
    changes[7] = change("p7", title="")

    receipt = index.tell(*changes)

    assert 7 == receipt.embedded == index.store.count()
    assert {"p3", "p7"} == {product_id for product_id, _ in receipt.failed}
    assert "the graph gave up" in dict(receipt.failed)["p3"]
    assert "no title" in dict(receipt.failed)["p7"]


def test_a_product_that_fails_keeps_its_last_good_row(index: Index) -> None:
    index.tell(change("mug", title="red mug"))

    index.tell(change("mug", version=2, title="poison"))

    assert ("red mug", 1) == (index.row("mug").title, index.row("mug").fingerprint.version)


def test_an_encoder_that_fails_on_everything_is_no_fault_of_the_products(index: Index) -> None:
    """Else a crash of the encoder would set the whole stream aside."""
    index.encoder.poison = ""  # type: ignore[attr-defined]

    with pytest.raises(EncoderUnavailable, match="fails on everything"):
        index.tell(change("mug"), change("cup"))

    assert 0 == index.store.count()


def test_a_vector_that_is_not_finite_is_the_failure_of_its_product_alone(index: Index) -> None:
    class Sick(HashEncoder):
        def embed(self, contents: Sequence[Content]) -> Vectors:
            vectors = super().embed(contents)
            for row, content in enumerate(contents):
                if "sick" in (content.text or ""):
                    vectors[row] = np.nan
            return vectors

    index.encoder = Sick(16)
    receipt = index.tell(change("mug"), change("cup", title="sick"))

    assert ["cup"] == [product_id for product_id, _ in receipt.failed]
    assert 1 == index.store.count()


def test_vector_spaces_are_never_mixed(index: Index) -> None:
    index.encoder = HashEncoder(16, model_id="hash-2")

    with pytest.raises(ModelMismatch, match="hash-2"):
        index.tell(change("mug"))

    assert 0 == index.store.count()


def test_a_store_that_does_not_answer_is_told_and_the_same_call_may_be_repeated(index: Index) -> None:
    class Away(InMemoryVectorStore):
        def upsert(self, rows: object) -> None:
            raise StoreUnavailable("away")

    kept, index.store = index.store, Away("products_v1", SPEC)
    with pytest.raises(StoreUnavailable):
        index.tell(change("mug"))
    index.store = kept

    assert 1 == index.tell(change("mug")).embedded


def test_a_products_vector_does_not_depend_on_its_batchmates(encoder: CountingEncoder) -> None:
    """Nor on whether it came in a page or in a batch."""
    alone, together = Index(encoder), Index(encoder)
    changes = [change(f"p{n}", title=f"product {n}") for n in range(150)]
    for one in changes:
        alone.tell(one)
    refresh_page(changes, encoder, together.store, NoPictures(), now=NOON)

    for one in changes:
        assert alone.row(one.product_id).vector.tobytes() == together.row(one.product_id).vector.tobytes()


def test_coalescing_keeps_the_order_of_first_appearance_and_the_latest_of_each() -> None:
    told = [change("a"), change("b", version=5), change("a", version=3), removal("b", version=4)]

    assert [("a", 3), ("b", 5)] == [(one.product_id, one.version) for one in coalesce(told)]


def test_an_unreadable_picture_is_the_encoders_judgement(encoder: CountingEncoder) -> None:
    with pytest.raises(UnreadablePicture):
        encoder.check_picture(b"broken")


def test_a_row_says_when_it_was_written(index: Index) -> None:
    index.tell(change("mug"), now=NOON)

    assert int(NOON.timestamp() * 1000) == index.row("mug").indexed_at_ms
