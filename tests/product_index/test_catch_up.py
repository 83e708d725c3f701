"""A change that comes at any moment of a rebuild is in the collection that is served."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index import publish, rebuild
from product_index.canary import Thresholds, Verdict, check_collection
from product_index.catalog import open_catalogue
from product_index.catch_up import (
    CaughtUp,
    InMemoryChangeFeed,
    begin_at,
    catch_up,
    hand_back,
    read_caught_up,
    serve,
)
from product_index.encoder import HashEncoder
from product_index.errors import CanaryRefused
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import ProductChange
from product_index.refresh import apply_changes
from product_index.vector_store import VectorStore
from tests.product_index.rows import NOON, change, removal

ENCODER = HashEncoder(16)
NO_PICTURES = NoPictures()


class Night:
    """One rebuild beside a stream: the consumer writes to what the alias names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = InMemoryVectorDatabase()
        self.feed = InMemoryChangeFeed()
        self.consumed = 0
        lines = "".join(f"p{n:02},mug number {n},1\n" for n in range(20))
        (folder / "products.csv").write_text("id,title,version\n" + lines, encoding="utf-8")

    def say(self, *changes: ProductChange) -> None:
        self.feed.changes += changes

    def consume(self, *, into: str | None = None) -> None:
        """What the stream does: a batch, to the collection that the alias named when it was taken."""
        page = self.feed.changes[self.consumed :]
        self.consumed += len(page)
        store = self.database.open(into or "products")
        apply_changes(page, ENCODER, store, NO_PICTURES, now=NOON)

    def built(self, day: int) -> rebuild.Plan:
        plan = rebuild.begin(
            open_catalogue(self.folder), ENCODER, alias="products", folder=self.folder / "rebuild",
            now=NOON + timedelta(days=day), seed="run",
        )  # fmt: skip
        rebuild.embed_shard(plan, 0, ENCODER, NO_PICTURES, now=NOON)
        rebuild.load_shards(plan, self.database)
        return plan

    def catch_up(self, plan: rebuild.Plan, marks: dict[str, int]) -> CaughtUp:
        store = self.database.open(plan.collection)
        return catch_up(plan, CaughtUp(marks=marks), self.feed, ENCODER, store, NO_PICTURES, now=NOON)

    def check(self, plan: rebuild.Plan) -> Verdict:
        caught = read_caught_up(plan)
        live = self.database.resolve("products")
        return check_collection(
            plan, self.database.open(plan.collection), ENCODER, NO_PICTURES,
            chance=np.random.default_rng(1), thresholds=Thresholds(limit=5),
            served=None if live is None else self.database.open(live),
            changed=frozenset() if caught is None else caught.products,
        )  # fmt: skip

    def serve(self, plan: rebuild.Plan) -> publish.Switch:
        return serve(plan, self.database, self.feed, ENCODER, NO_PICTURES, now=NOON)

    def titles(self) -> dict[str, str]:
        rows = (row for page in self.database.open("products").rows() for row in page)
        return {row.product_id: row.title for row in rows if not row.fingerprint.deleted}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    made = Night(tmp_path)
    publish.switch(made.database, "products", made.built(0).collection)
    return made


def test_changes_at_every_moment_of_a_rebuild_are_served(night: Night) -> None:
    """Before the snapshot, during the build, after the canary, and in a consumer's hands at the switch."""
    night.say(change("p00", version=2, title="before the mark"))
    marks = night.feed.mark()
    night.say(change("p01", version=2, title="after the mark"), change("new", title="a new one"))
    plan = night.built(1)
    night.say(removal("p02", version=2))
    night.consume()

    caught = night.catch_up(plan, marks)
    verdict = night.check(plan)
    assert ({"p01", "p02", "new"}, 20) == (set(caught.products), verdict.products)

    night.say(change("p03", version=2, title="after the canary"), change("p04", version=2, title="older"))
    blue = night.database.resolve("products")
    moved = night.serve(plan)
    night.say(change("p05", version=2, title="after the switch"))
    night.consume(into=blue)  # taken before the switch, written after it
    assert moved.moved
    assert "mug number 5" == night.titles()["p05"], "this one would be lost"

    night.serve(plan)  # a retry hands it back, and writes nothing beside the stream
    night.consume()

    after = night.titles()
    assert {
        "p01": "after the mark",
        "p03": "after the canary",
        "p05": "after the switch",
    }.items() <= after.items()
    assert "a new one" == after["new"]
    assert "p02" not in after


def test_what_came_after_the_catalogue_was_written_is_served_again(night: Night) -> None:
    """A file of the evening knows nothing of the changes before the rebuild of the night."""
    lines = "".join(f"p{n:02},mug number {n}\n" for n in range(20))  # as most exports: without versions
    (night.folder / "products.csv").write_text("id,title\n" + lines, encoding="utf-8")
    evening = NOON.timestamp()
    os.utime(night.folder / "products.csv", (evening, evening))
    night.say(
        change("p03", version=1, title="in the export already", minute=-90),
        change("p04", version=1, title="while it was written", minute=-5),
        change("p01", version=1, title="cheaper", minute=60),
        change("new", version=1, title="made in between", minute=60),
        removal("p02", version=1, minute=60),
    )
    night.consume()
    marks = night.feed.mark()
    plan = night.built(1)
    store = night.database.open(plan.collection)
    caught = begin_at(plan, marks, night.feed)
    catch_up(plan, caught, night.feed, ENCODER, store, NO_PICTURES, now=NOON)
    night.check(plan)
    night.serve(plan)

    titles = night.titles()
    assert ("cheaper", "made in between") == (titles["p01"], titles["new"])
    assert ("mug number 3", "while it was written") == (titles["p03"], titles["p04"])
    assert "p02" not in titles


def test_what_a_consumer_took_for_blue_is_said_again(night: Night) -> None:
    """And only that: what the new collection has already is not."""
    plan = night.built(1)
    night.catch_up(plan, night.feed.mark())
    night.serve(plan)
    marks = night.feed.mark()
    night.say(change("p01", version=2, title="new"), change("p02", version=0, title="older"))

    assert 1 == hand_back(night.feed, marks, night.database.open(plan.collection))
    assert ["p01", "p02", "p01"] == [one.product_id for one in night.feed.changes]


def test_catching_up_twice_is_catching_up_once(night: Night) -> None:
    marks = night.feed.mark()
    plan = night.built(1)
    night.say(*(change(f"p{n:02}", version=2, title=f"again {n}") for n in range(10)))

    first = night.catch_up(plan, marks)
    before = [row for page in night.database.open(plan.collection).rows() for row in page]
    again = night.catch_up(plan, marks)

    assert first == again == read_caught_up(plan)
    after = [row for page in night.database.open(plan.collection).rows() for row in page]
    assert [row.fingerprint for row in before] == [row.fingerprint for row in after]


def test_an_older_change_of_the_stream_does_not_replace_the_snapshot(night: Night) -> None:
    night.say(change("p01", version=0, title="long ago"))
    plan = night.built(1)
    night.catch_up(plan, {"0": 0})

    assert "mug number 1" == night.database.open(plan.collection).get(["p01"])["p01"].title


def spoil_nan(store: VectorStore, plan: rebuild.Plan) -> None:
    rows = store._rows  # type: ignore[attr-defined]
    rows["p03"] = replace(rows["p03"], vector=np.full(16, np.nan, dtype=np.float32))


def spoil_half(store: VectorStore, plan: rebuild.Plan) -> None:
    rows = store._rows  # type: ignore[attr-defined]
    for key in sorted(rows)[::2]:
        del rows[key]


def spoil_model(store: VectorStore, plan: rebuild.Plan) -> None:
    for row in list(store.get(["p03", "p04"]).values()):
        store.upsert([replace(row, fingerprint=replace(row.fingerprint, model_id="hash-0"))])


def spoil_order(store: VectorStore, plan: rebuild.Plan) -> None:
    rows = [row for page in store.rows() for row in page]
    store.upsert([replace(row, vector=rows[place - 1].vector) for place, row in enumerate(rows)])


def spoil_search(store: VectorStore, plan: rebuild.Plan) -> None:
    whole = store.search  # as HNSW answers when `ef` is far below the limit
    store.search = lambda vectors, **options: [hits[::3] for hits in whole(vectors, **options)]  # type: ignore


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (spoil_nan, "norms"),
        (spoil_half, "missing"),
        (spoil_model, "model"),
        (spoil_order, "rows"),
        (spoil_search, "recall"),
    ],
)
def test_a_sabotaged_collection_is_refused_by_name(
    night: Night,
    spoil: Callable[[VectorStore, rebuild.Plan], None],
    check: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the log and in the error; blue goes on."""
    blue = night.database.resolve("products")
    plan = night.built(1)
    spoil(night.database.open(plan.collection), plan)

    with pytest.raises(CanaryRefused) as caught:
        night.check(plan)

    assert check in {reason.partition(":")[0] for reason in caught.value.reasons}
    assert f"'{check}'" in capsys.readouterr().out
    assert blue == night.database.resolve("products")


def test_a_shrunken_snapshot_is_refused_by_name(night: Night) -> None:
    """A cut-off export looks like a shop that has sold out."""
    file = night.folder / "products.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:11]), encoding="utf-8")

    with pytest.raises(CanaryRefused, match=r"shrink: it has 10 products, products_v\w+ serves 20"):
        night.check(night.built(1))


def test_other_lists_than_those_served_are_refused_by_name(night: Night) -> None:
    """The model says that it is the same; what it finds says that it is not."""
    blue = night.database.open("products")
    rows = [row for page in blue.rows() for row in page]
    shuffled = np.random.default_rng(3).permutation(len(rows))
    blue.upsert([replace(row, vector=rows[int(n)].vector) for row, n in zip(rows, shuffled, strict=True)])

    with pytest.raises(CanaryRefused, match=r"overlap: it gives [\d.]+% of what products_v"):
        night.check(night.built(1))
