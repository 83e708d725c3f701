"""A green that is not fit to serve, on real stores: each fault is refused and named in the log."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from product_index import milvus_rows, publish, rebuild
from product_index.canary import Thresholds, check_collection
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import CanaryRefused
from product_index.pictures import NoPictures
from product_index.shards import read_rows, write_rows
from product_index.vector_store import VectorDatabase, VectorStore
from tests.product_index.rows import NOON, SPEC

pytestmark = [pytest.mark.milvus, pytest.mark.slow]

ENCODER = HashEncoder(16)
Spoil = Callable[[VectorStore, rebuild.Plan], None]


def behind_the_door(store: VectorStore, **fields: object) -> None:
    """Write a row as a foreign program would: our own adapter refuses what is no vector."""
    whole = milvus_rows.columns([store.get(["p03"])["p03"]])
    row = {name: value for name, (value,) in whole.items()} | fields
    store._client.upsert(store.name, [row])  # type: ignore[attr-defined]


def spoil_nan(store: VectorStore, plan: rebuild.Plan) -> None:
    behind_the_door(store, vector=np.full(16, np.nan, dtype=np.float32))


def spoil_length(store: VectorStore, plan: rebuild.Plan) -> None:
    behind_the_door(store, vector=np.full(16, 0.5, dtype=np.float32))


def spoil_model(store: VectorStore, plan: rebuild.Plan) -> None:
    behind_the_door(store, model_id="hash-0")


def spoil_half(store: VectorStore, plan: rebuild.Plan) -> None:
    lost = [row.product_id for n in (1, 3) for page in read_rows(rebuild.rows_path(plan, n)) for row in page]
    store._client.delete(store.name, ids=lost)  # type: ignore[attr-defined]


def spoil_order(store: VectorStore, plan: rebuild.Plan) -> None:
    rows = [row for page in store.rows() for row in page]
    store.upsert([replace(row, vector=rows[place - 1].vector) for place, row in enumerate(rows)])


def built(
    folder: Path, database: VectorDatabase, *, products: int, encoder: HashEncoder, alias: str
) -> rebuild.Plan:
    rows = [{"id": f"p{n:02}", "title": f"mug {n * n} of {n % 7} and {n % 11}"} for n in range(products)]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = rebuild.begin(
        open_catalogue(folder), encoder, alias=alias, folder=folder / "rebuild", now=NOON, seed="green",
        part_rows=-(-products // 4),
    )  # fmt: skip
    for number in range(4):
        rebuild.embed_shard(plan, number, encoder, NoPictures(), now=NOON)
    return plan


def refused(
    plan: rebuild.Plan, store: VectorStore, encoder: HashEncoder, *, limit: int
) -> tuple[set[str], str]:
    """The checks that the log names, and the reasons; refused it must be."""
    with capture_logs() as logs, pytest.raises(CanaryRefused) as caught:
        check_collection(
            plan, store, encoder, NoPictures(),
            chance=np.random.default_rng(1), thresholds=Thresholds(limit=limit, queries=20),
        )  # fmt: skip
    (line,) = [line for line in logs if line["event"] == "canary_refused"]
    return set(line["checks"]), str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "real"])
def test_rows_that_are_wrong_in_milvus_are_refused_by_name_and_blue_goes_on(
    kind: str, database: VectorDatabase, tmp_path: Path
) -> None:
    """Not finite or not of length 1, half missing, of another model, shuffled in the store or in the shards.

    What is not finite a real server refuses from anybody.
    """
    blue = publish.collection_name("products", now=NOON - timedelta(days=1), seed="blue")
    database.create(blue, SPEC)
    publish.switch(database, "products", blue)
    plan = built(tmp_path, database, products=32, encoder=ENCODER, alias="products")
    wanted = {spoil_length: "norms", spoil_half: "missing", spoil_model: "model", spoil_order: "rows"}
    if kind == "folder":
        wanted[spoil_nan] = "norms"
    store = rebuild.load_shards(plan, database)
    sound = [row for page in store.rows() for row in page]
    if kind == "real":
        with pytest.raises(Exception, match="'NaN' is not a number"):
            spoil_nan(store, plan)

    for spoil, check in wanted.items():
        spoil(store, plan)
        store.count()  # a strong read: what was spoilt is seen from here on
        assert check in refused(plan, store, ENCODER, limit=5)[0], spoil.__name__
        store.upsert(sound)

    for number in range(4):
        rows = [row for page in read_rows(rebuild.rows_path(plan, number)) for row in page]
        moved = [replace(row, vector=rows[place - 1].vector) for place, row in enumerate(rows)]
        write_rows(rebuild.rows_path(plan, number), moved, dimension=16)
        store.upsert(moved)
    assert {"vectors"} == refused(plan, store, ENCODER, limit=5)[0]
    assert blue == database.resolve("products")


@pytest.fixture
def real(real_milvus: str) -> Iterator[VectorDatabase]:
    from product_index.milvus import MilvusVectorDatabase

    opened = MilvusVectorDatabase(real_milvus, timeout_s=120)
    yield opened
    for name in opened.names():
        opened.drop(name)
    opened.close()


def test_an_index_that_does_not_find_the_nearest_is_refused_by_name(
    real: VectorDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph of two neighbours a node, on the real server: every row is right, and yet it may not serve."""
    from product_index import milvus

    encoder = HashEncoder(64)
    plan = built(tmp_path, real, products=4_000, encoder=encoder, alias="spoilt")
    bad = {"index_type": "HNSW", "params": {"M": 2, "efConstruction": 8}}
    monkeypatch.setattr(milvus, "INDEX_SERVER", bad)

    checks, reasons = refused(plan, rebuild.load_shards(plan, real), encoder, limit=100)

    assert {"recall"} == checks
    assert "recall@100 is 0." in reasons
