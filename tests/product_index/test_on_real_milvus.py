"""What only a real server shows: an approximate index, and a build that is served through an alias."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index import publish, rebuild
from product_index.canary import Thresholds, check_collection
from product_index.encoder import HashEncoder
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from product_index.vector_store import Filter, VectorStore
from tests.product_index.rows import NOON, SPEC, change, removal, row

pytestmark = [pytest.mark.milvus, pytest.mark.slow]


@pytest.fixture
def real(real_milvus: str) -> Iterator[MilvusVectorDatabase]:
    """The real server; what a test makes there, it names `made_...`."""
    opened = MilvusVectorDatabase(real_milvus)
    yield opened
    for name in opened.names():
        for alias in opened._client.list_aliases(name)["aliases"]:
            opened._client.drop_alias(alias)
        opened.drop(name)
    opened.close()


def test_a_long_list_is_full_and_right_also_under_a_narrow_filter(real: MilvusVectorDatabase) -> None:
    """HNSW with `ef` below the limit gives short and wrong lists; one product of fifty passes the filter."""
    drawn = np.random.default_rng(7)
    centres = drawn.standard_normal((40, 32))
    vectors = (centres[drawn.integers(40, size=6_000)] + 0.6 * drawn.standard_normal((6_000, 32))).astype(
        "f4"
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = real.create("made_long", replace(SPEC, dimension=32))
    store.upsert(
        [row(f"p{n:04}", vector=vectors[n], brand="rare" if n % 50 == 0 else "") for n in range(6_000)]
    )
    store.flush()

    for where, places in ((None, np.arange(6_000)), (Filter(brand="rare"), np.arange(0, 6_000, 50))):
        for limit in (100, 500):
            wanted = min(limit, len(places))
            shares = []
            for asked, hits in enumerate(store.search(vectors[:20], limit=limit, where=where)):
                exact = places[np.argsort(-(vectors[places] @ vectors[asked]))[:wanted]]
                assert wanted == len(hits)
                shares.append(len({f"p{n:04}" for n in exact} & {hit.product_id for hit in hits}) / wanted)
            assert np.mean(shares) >= 0.97, (where, limit)


@pytest.mark.parametrize("kind", ["real"])
def test_a_change_is_refused_by_what_was_written_a_moment_ago(store: VectorStore) -> None:
    """The gate reads strongly: a bounded read would let an older change win for five seconds."""
    encoder = HashEncoder(16)

    for version in (3, 2, 5, 4):
        apply_changes([change("mug", version=version)], encoder, store, NoPictures(), now=NOON)
    assert 5 == store.fingerprints(["mug"])["mug"].version

    apply_changes([removal("mug", version=6)], encoder, store, NoPictures(), now=NOON)
    late = apply_changes([change("mug", version=5)], encoder, store, NoPictures(), now=NOON)
    assert (1, 0) == (late.stale, store.count())


def test_green_is_built_checked_switched_to_and_rolled_back_from(
    real: MilvusVectorDatabase, tmp_path: Path
) -> None:
    """Journey (a) on the engine that serves; the model's stamp outlives the connection."""
    from product_index.catalog import open_catalogue

    encoder = HashEncoder(16)
    (tmp_path / "products.csv").write_text(
        "id,title\n" + "".join(f"p{n},mug number {n}\n" for n in range(60)), encoding="utf-8"
    )
    blue = publish.collection_name("made", now=NOON - timedelta(days=1), seed="run")
    real.create(blue, SPEC)
    publish.switch(real, "made", blue)
    plan = rebuild.begin(
        open_catalogue(tmp_path), encoder, alias="made", folder=tmp_path / "rebuild", now=NOON, seed="run"
    )
    rebuild.embed_shard(plan, 0, encoder, NoPictures(), now=NOON)
    store = rebuild.load_shards(plan, real)
    verdict = check_collection(
        plan, store, encoder, NoPictures(),
        chance=np.random.default_rng(1), thresholds=Thresholds(limit=20),
    )  # fmt: skip
    assert (60, 1.0, 1.0) == (verdict.products, verdict.recall, verdict.recall_filtered)
    assert publish.switch(real, "made", plan.collection).moved

    assert blue == publish.rollback(real, "made").live
    again = MilvusVectorDatabase(real._asker.uri)
    assert (blue, SPEC) == (again.open("made").name, again.open("made").spec)
    again.close()
