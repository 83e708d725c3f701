"""What is wrong in the index is found, and mended through the stream."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from product_index.catalog import Catalogue, open_catalogue
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.reconcile import Findings, held_back_because, reconcile
from product_index.refresh import apply_changes
from product_index.vector_store import VectorStore
from tests.product_index.rows import SPEC, change, removal

ENCODER = HashEncoder(16)
TAKEN = datetime(2026, 11, 20, 18, tzinfo=UTC)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return written(tmp_path)


def written(folder: Path, *, count: int = 40, broken: bool = False) -> Catalogue:
    rows = [
        {"id": f"p{n:02}", "title": f"a p{n:02}", "price": n, "version": 1,
         "updated_at": "2026-11-20T12:00:00Z"}
        for n in range(count)
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows] + (['{"title": "nobody"}'] if broken else [])
    file = folder / "products.jsonl"
    file.write_text("\n".join(lines))
    os.utime(file, (TAKEN.timestamp(), TAKEN.timestamp()))
    return open_catalogue(folder)


@pytest.fixture
def store(catalogue: Catalogue) -> VectorStore:
    made = InMemoryVectorDatabase().create("products_v1", SPEC)
    for page in catalogue.pages(100):
        apply(made, *page)
    return made


def apply(store: VectorStore, *changes: object) -> None:
    apply_changes(changes, ENCODER, store, NoPictures(), now=TAKEN)  # type: ignore[arg-type]


def ids(changes: object) -> list[str]:
    return [one.product_id for one in changes]  # type: ignore[attr-defined]


def test_an_index_that_is_right_needs_nothing(catalogue: Catalogue, store: VectorStore) -> None:
    assert Findings(products=40) == reconcile(catalogue, store)


def test_each_fault_is_found_under_its_name_and_mended_by_its_change(
    catalogue: Catalogue, store: VectorStore
) -> None:
    """Missing, stale, differing, of another model, orphaned: applied as the stream would, nothing is left."""
    rows = store._rows  # type: ignore[attr-defined]
    del rows["p01"]
    for key, fields in {
        "p02": {"version": 0},
        "p03": {"text_hash": "0" * 64},
        "p04": {"model_id": "hash-0"},
        "p05": {"scalar_hash": "0" * 64},
    }.items():
        rows[key] = replace(rows[key], fingerprint=replace(rows[key].fingerprint, **fields))
    apply(store, change("gone", version=7), removal("p06", version=0))

    found = reconcile(catalogue, store)

    assert (["p01"], ["p02"], ["p03", "p05"], ["p04"], ["gone"]) == tuple(
        ids(kind) for kind in (found.missing, found.stale, found.differing, found.other_model, found.orphans)
    )
    apply(store, *found.changes)
    assert Findings(products=40) == reconcile(catalogue, store)
    assert 40 == store.count()


def test_what_the_stream_learnt_since_the_snapshot_is_no_fault(
    catalogue: Catalogue, store: VectorStore
) -> None:
    """A newer version, a removal, a product that the snapshot could not know."""
    late = timedelta(hours=9)
    newer = [change("p01", version=2), removal("p02", version=2), change("brand-new", version=1)]
    apply(store, *(replace(one, occurred_at=one.occurred_at + late) for one in newer))

    assert Findings(products=40) == reconcile(catalogue, store)


def test_a_removal_that_comes_late_takes_nothing_newer_with_it(
    catalogue: Catalogue, store: VectorStore
) -> None:
    apply(store, change("gone", version=7))
    (orphan,) = reconcile(catalogue, store).orphans
    apply(store, change("gone", version=8))

    apply(store, orphan)

    assert not store.fingerprints(["gone"])["gone"].deleted


def test_removals_wait_for_a_complete_snapshot(tmp_path: Path, store: VectorStore) -> None:
    """A bad row may be the very product that seems to be gone; the rest is mended all the same."""
    broken = written(tmp_path, count=39, broken=True)

    found = reconcile(broken, store)

    assert ((), 1) == (found.orphans, found.held_back)
    assert "1 rows of the catalogue are bad" in found.why


def test_removals_are_capped(tmp_path: Path, store: VectorStore) -> None:
    half = written(tmp_path, count=20)

    found = reconcile(half, store)

    assert ((), 20) == (found.orphans, found.held_back)
    assert "20 of 40 products would be removed, at most 5% may be" in found.why
    assert 20 == len(reconcile(half, store, max_orphans=0.5).orphans)
    assert "" == held_back_because(orphans=0, rows=0, bad_rows=9, max_orphans=0.0)
