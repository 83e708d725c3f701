"""A new collection is built beside the one that is served, checked, and then switched to."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index import publish, rebuild
from product_index.canary import Thresholds, Verdict, check_collection
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import CanaryRefused, InvalidCatalogue, ModelMismatch, UnknownCollection
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from product_index.shards import read_changes, read_rows, write_rows
from product_index.vector_store import VectorDatabase, VectorStore
from tests.product_index.rows import NOON, SPEC, state_of, unit

ENCODER = HashEncoder(16)


class Shop:
    """A small catalogue and everything that a rebuild needs."""

    def __init__(self, folder: Path, database: VectorDatabase) -> None:
        self.folder = folder
        self.database = database
        self.pictures = NoPictures({"red.jpg": b"red"})
        self.write(30)

    def write(self, count: int, **fields: object) -> None:
        rows = [
            {"id": f"p{n:02}", "title": f"mug number {n}", "category": "cups" if n % 3 else "plates",
             "image": "red.jpg" if n % 2 else None, "price": None if n % 5 else n, **fields}
            for n in range(count)
        ]  # fmt: skip
        (self.folder / "products.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def embedded(self, now: datetime = NOON, *, part_rows: int = 8) -> rebuild.Plan:
        catalogue = open_catalogue(self.folder)
        plan = rebuild.begin(
            catalogue, ENCODER, alias="products", folder=self.folder / "rebuild", now=now, seed="run",
            part_rows=part_rows,
        )  # fmt: skip
        for number in range(len(plan.shards)):
            rebuild.embed_shard(plan, number, ENCODER, self.pictures, now=now)
        return plan

    def check(self, plan: rebuild.Plan, store: VectorStore) -> Verdict:
        return check_collection(
            plan,
            store,
            ENCODER,
            self.pictures,
            chance=np.random.default_rng(1),
            thresholds=Thresholds(limit=5),
        )

    def publish(self, now: datetime) -> str:
        plan = self.embedded(now)
        self.check(plan, rebuild.load_shards(plan, self.database))
        publish.switch(self.database, "products", plan.collection)
        publish.drop_old(self.database, "products")
        return plan.collection


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, InMemoryVectorDatabase())


@pytest.fixture
def every_shop(tmp_path: Path, database: VectorDatabase) -> Shop:
    return Shop(tmp_path, database)


def test_a_rebuild_is_checked_and_served_and_one_older_is_kept(every_shop: Shop) -> None:
    names = [every_shop.publish(NOON + timedelta(days=day)) for day in range(3)]

    assert names[2] == every_shop.database.resolve("products")
    assert names[1:] == every_shop.database.names()
    assert 30 == every_shop.database.open("products").count()


def test_batch_and_stream_give_the_same_row(shop: Shop) -> None:
    """Every field and every bit, but for when it was written: one path."""
    plan = shop.embedded()
    built = rebuild.load_shards(plan, shop.database)
    streamed = shop.database.create("streamed", SPEC)
    for page in open_catalogue(shop.folder).pages(3):
        apply_changes(page, ENCODER, streamed, shop.pictures, now=NOON)

    for ours, theirs in zip(built.rows(), streamed.rows(), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.vector.tobytes() == other.vector.tobytes()
            assert replace(one, vector=unit(0)).fingerprint == other.fingerprint
            assert (one.title, one.price, one.category) == (other.title, other.price, other.category)


def test_embedding_a_shard_again_does_nothing_and_an_interrupted_one_is_done_again(shop: Shop) -> None:
    plan = shop.embedded()
    path = rebuild.rows_path(plan, 1)
    made = path.stat().st_mtime_ns

    rebuild.embed_shard(plan, 1, ENCODER, shop.pictures, now=NOON)
    assert made == path.stat().st_mtime_ns

    path.unlink()
    assert 8 == rebuild.embed_shard(plan, 1, ENCODER, shop.pictures, now=NOON).rows
    assert 8 == sum(len(page) for page in read_rows(path))
    assert [] == list(plan.folder.glob(".*part"))


def test_two_rebuilds_of_the_same_snapshot_hold_the_same(every_shop: Shop) -> None:
    """Byte for byte, however the snapshot was cut."""
    shop = every_shop
    first, second = (
        rebuild.load_shards(shop.embedded(NOON + timedelta(days=day), part_rows=size), shop.database)
        for day, size in ((0, 8), (1, 30))
    )

    assert 30 == len(state_of(first))
    assert state_of(first) == state_of(second)
    pairs = zip(next(first.rows()), next(second.rows()), strict=True)
    assert all(one.fingerprint == other.fingerprint for one, other in pairs)


def test_the_snapshot_does_not_move_when_the_catalogue_does(shop: Shop) -> None:
    plan = shop.embedded()
    shop.write(5)

    assert plan == rebuild.read_plan(plan.path)
    assert 30 == sum(1 for parts in plan.shards for part in parts for _ in read_changes(plan.folder / part))


def test_only_what_changed_is_embedded_and_the_rest_is_taken_over(every_shop: Shop) -> None:
    """The same rows, bit for bit, as a rebuild that embeds everything."""
    shop = every_shop
    served = shop.database.open(shop.publish(NOON))
    rows = [json.loads(line) for line in (shop.folder / "products.jsonl").read_text().splitlines()]
    rows[3]["title"], rows[4]["price"], rows[5]["image"] = "another mug", 99.0, None
    rows = [*rows[:-2], {"id": "new", "title": "a new mug"}]
    (shop.folder / "products.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    tomorrow = NOON + timedelta(days=1)
    plans = {}
    for seed in ("full", "incremental"):
        plan = rebuild.begin(
            open_catalogue(shop.folder), ENCODER, alias="products", folder=shop.folder / "rebuild",
            now=tomorrow, seed=seed, part_rows=8,
        )  # fmt: skip
        if seed == "incremental":
            assert 28 == rebuild.take_over(plan, served)
        shards = [rebuild.embed_shard(plan, n, ENCODER, shop.pictures, now=tomorrow) for n in range(4)]
        assert {"full": 0, "incremental": 26}[seed] == sum(shard.reused for shard in shards)
        plans[seed] = [
            row for n in range(4) for page in read_rows(rebuild.rows_path(plan, n)) for row in page
        ]

    for one, other in zip(plans["full"], plans["incremental"], strict=True):
        assert one.vector.tobytes() == other.vector.tobytes()
        assert (one.product_id, one.fingerprint) == (other.product_id, other.fingerprint)
    assert 29 == len(plans["incremental"])


def test_nothing_is_taken_over_from_another_model(shop: Shop) -> None:
    """A change of model embeds everything, whatever the mode."""
    served = shop.database.open(shop.publish(NOON))
    another = HashEncoder(16, model_id="hash-2")
    plan = rebuild.begin(
        open_catalogue(shop.folder), another, alias="products", folder=shop.folder / "rebuild",
        now=NOON + timedelta(days=1), seed="",
    )  # fmt: skip

    assert 0 == rebuild.take_over(plan, served)
    assert 0 == rebuild.embed_shard(plan, 0, another, shop.pictures, now=NOON).reused


def test_shards_stay_under_the_mapping_limit(shop: Shop) -> None:
    shop.write(300)

    plan = rebuild.begin(
        open_catalogue(shop.folder),
        ENCODER,
        alias="products",
        folder=shop.folder,
        now=NOON,
        seed="",
        part_rows=1,
    )

    assert 60 == len(plan.shards) <= rebuild.MAX_SHARDS
    assert 300 == plan.products == sum(len(parts) for parts in plan.shards)


def test_a_shard_that_is_not_embedded_stops_the_load(shop: Shop) -> None:
    plan = shop.embedded()
    (plan.folder / "vectors-00002.json").unlink()

    with pytest.raises(InvalidCatalogue, match="1 of 4 shards"):
        rebuild.load_shards(plan, shop.database)

    assert [] == shop.database.names()


def test_an_encoder_that_was_changed_meanwhile_is_noticed(shop: Shop) -> None:
    plan = shop.embedded()

    with pytest.raises(ModelMismatch):
        rebuild.embed_shard(plan, 0, HashEncoder(16, model_id="hash-2"), shop.pictures, now=NOON)


def refused(shop: Shop, plan: rebuild.Plan, store: VectorStore) -> str:
    with pytest.raises(CanaryRefused) as caught:
        shop.check(plan, store)
    return str(caught.value)


def test_a_sound_collection_passes_with_its_figures(every_shop: Shop) -> None:
    plan = every_shop.embedded()

    verdict = every_shop.check(plan, rebuild.load_shards(plan, every_shop.database))

    assert (30, 1.0, 1.0, 1.0) == (
        verdict.products,
        verdict.coverage,
        verdict.recall,
        verdict.recall_filtered,
    )
    assert json.dumps(verdict.as_dict())


def test_missing_products_are_refused(shop: Shop) -> None:
    plan = shop.embedded()
    store = shop.database.create(plan.collection, plan.spec)
    store.upsert([row for page in read_rows(rebuild.rows_path(plan, 0)) for row in page])

    assert "22 products are missing" in refused(shop, plan, store)


def test_shuffled_vectors_are_refused_wherever_they_were_shuffled(shop: Shop) -> None:
    """In the store, or already in the file that it was loaded from."""
    plan = shop.embedded()
    rows = [row for page in read_rows(rebuild.rows_path(plan, 0)) for row in page]
    shuffled = [replace(row, vector=other.vector) for row, other in zip(rows, rows[::-1], strict=True)]
    store = rebuild.load_shards(plan, shop.database)
    store.upsert(shuffled)
    assert "rows differ from what was embedded" in refused(shop, plan, store)

    for number in range(len(plan.shards)):
        rows = [row for page in read_rows(rebuild.rows_path(plan, number)) for row in page]
        moved = [replace(row, vector=rows[place - 1].vector) for place, row in enumerate(rows)]
        write_rows(rebuild.rows_path(plan, number), moved, dimension=16)
    assert "have another's vector" in refused(shop, plan, rebuild.load_shards(plan, shop.database))


def test_another_model_stale_and_strange_rows_are_refused(shop: Shop) -> None:
    plan = shop.embedded()
    store = rebuild.load_shards(plan, shop.database)
    row = store.get(["p03"])["p03"]
    store.upsert([replace(row, fingerprint=replace(row.fingerprint, model_id="hash-0"))])
    store.upsert([replace(row, product_id="stranger")])

    said = refused(shop, plan, store)

    assert "1 rows are of another model" in said
    assert "1 products are in it that the catalogue does not have" in said


def test_a_search_that_misses_the_nearest_is_refused(shop: Shop) -> None:
    plan = shop.embedded()
    store = rebuild.load_shards(plan, shop.database)
    whole = store.search
    store.search = lambda vectors, **options: [hits[-2:] for hits in whole(vectors, **options)]  # type: ignore[method-assign]

    assert "recall@5 is 0.4" in refused(shop, plan, store)


def test_a_catalogue_that_mostly_cannot_be_embedded_is_refused(shop: Shop) -> None:
    shop.write(30, title="", category="", image="nowhere.jpg")
    with (shop.folder / "products.jsonl").open("a") as file:
        file.write('\n{"id": "mug", "title": "mug"}')
    plan = shop.embedded()

    said = refused(shop, plan, rebuild.load_shards(plan, shop.database))

    assert "it covers 3.2% of 31 products" in said
    assert "nowhere.jpg" in said


def test_the_alias_never_moves_back_by_a_switch(shop: Shop) -> None:
    """A late backfill of an old snapshot is not served; and nothing newer than live is dropped."""
    old, new = (
        publish.collection_name("products", now=NOON + timedelta(days=day), seed="") for day in (0, 1)
    )
    for name in (old, new):
        shop.database.create(name, SPEC)

    assert publish.switch(shop.database, "products", new).moved
    assert not publish.switch(shop.database, "products", old).moved
    assert not publish.switch(shop.database, "products", new).moved
    assert new == shop.database.resolve("products")


def test_a_rollback_serves_what_was_served_before_and_can_be_undone(every_shop: Shop) -> None:
    first, second = (every_shop.publish(NOON + timedelta(days=day)) for day in range(2))

    assert (
        first
        == publish.rollback(every_shop.database, "products").live
        == every_shop.database.resolve("products")
    )
    assert [] == publish.drop_old(every_shop.database, "products"), "the newer one may be wanted again"
    assert second == publish.rollback(every_shop.database, "products").live
    third = every_shop.publish(NOON + timedelta(days=3))
    assert [second, third] == every_shop.database.names()


def test_without_an_earlier_collection_there_is_no_rollback(shop: Shop) -> None:
    shop.publish(NOON)

    with pytest.raises(UnknownCollection, match="no earlier collection"):
        publish.rollback(shop.database, "products")


def test_only_collections_of_this_alias_are_dropped(shop: Shop) -> None:
    strangers = ["other_v20200101T000000Z_abcdef", "products_v1", "products_verylong"]
    future = publish.collection_name("products", now=NOON + timedelta(days=9), seed="")
    for name in [*strangers, future]:
        shop.database.create(name, SPEC)
    live = [shop.publish(NOON + timedelta(days=day)) for day in range(3)]

    assert sorted([*strangers, future, *live[1:]]) == shop.database.names()
