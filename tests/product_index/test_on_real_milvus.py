"""What only a real server shows: an approximate index, and a build that is served through an alias."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index import publish, rebuild
from product_index.canary import Thresholds, check_collection
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes, refresh_page
from product_index.vector_store import Filter, VectorStore
from tests.product_index.rows import NOON, SPEC, change, removal, row, state_of

pytestmark = [pytest.mark.milvus, pytest.mark.slow]


@pytest.fixture
def real(real_milvus: str) -> Iterator[MilvusVectorDatabase]:
    """The real server; what a test makes there, it names `made_...`."""
    opened = MilvusVectorDatabase(real_milvus, timeout_s=120)
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


def test_a_refresh_run_twice_serves_the_same_rows_byte_for_byte_and_can_be_rolled_back(
    real: MilvusVectorDatabase, tmp_path: Path
) -> None:
    """Journey (a) on the engine that serves: the second run takes over what the first one serves.

    Keys, versions and vectors are the same, and so is every fingerprint; the model's stamp outlives
    the connection.
    """
    encoder, names, held = HashEncoder(16), [], []
    (tmp_path / "products.csv").write_text(
        "id,version,title\n" + "".join(f"p{n:02},{1 + n % 7},mug number {n}\n" for n in range(60)),
        encoding="utf-8",
    )
    for day in range(2):
        now, live = NOON + timedelta(days=day), real.resolve("made")
        plan = rebuild.begin(
            open_catalogue(tmp_path), encoder, alias="made", folder=tmp_path / "rebuild", now=now, seed="run"
        )
        if live is not None:
            assert 60 == rebuild.take_over(plan, real.open("made"))
        made = rebuild.embed_shard(plan, 0, encoder, NoPictures(), now=now)
        assert (0 if live is None else 60) == made.reused
        store = rebuild.load_shards(plan, real)
        verdict = check_collection(
            plan, store, encoder, NoPictures(),
            chance=np.random.default_rng(1), thresholds=Thresholds(limit=20),
            served=None if live is None else real.open(live),
        )  # fmt: skip
        assert (60, 1.0, 1.0) == (verdict.products, verdict.recall, verdict.recall_filtered)
        assert publish.switch(real, "made", plan.collection).moved
        names.append(plan.collection)
        held.append({row.product_id: row for page in store.rows() for row in page})

    first, second = held
    assert state_of(real.open(names[0])) == state_of(real.open(names[1]))
    assert first.keys() == second.keys()
    assert all(first[key].fingerprint == second[key].fingerprint for key in first)

    assert names[0] == publish.rollback(real, "made").live
    again = MilvusVectorDatabase(real._asker.uri, timeout_s=120)
    assert (names[0], SPEC) == (again.open("made").name, again.open("made").spec)
    again.close()


@pytest.mark.parametrize("kind", ["real"])
def test_a_snapshot_told_twice_writes_nothing_the_second_time(store: VectorStore) -> None:
    """The incremental refresh: the same keys, versions and vectors, and none of them written anew."""
    encoder = HashEncoder(16)
    page = [change(f"p{n:02}", version=n, title=f"mug {n}", price=float(n)) for n in range(70)]
    page.append(removal("p70", version=3))

    first = refresh_page(page, encoder, store, NoPictures(), now=NOON)
    before = {row.product_id: row for rows in store.rows() for row in rows}
    again = refresh_page(page, encoder, store, NoPictures(), now=NOON + timedelta(days=1))

    assert (70, 1) == (first.embedded, first.deleted)
    assert (0, 71) == (again.written, again.stale)
    after = {row.product_id: row for rows in store.rows() for row in rows}
    assert before.keys() == after.keys()
    for key, one in before.items():
        assert one.vector.tobytes() == after[key].vector.tobytes()
        assert replace(one, vector=after[key].vector) == after[key]
