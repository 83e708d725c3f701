"""The store fails in the middle of a load: it is told clearly, blue goes on, and the load is done again."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from product_index import publish, rebuild
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import StoreUnavailable
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.vector_store import VectorDatabase
from tests.product_index.rows import NOON, state_of

pytestmark = [pytest.mark.milvus, pytest.mark.slow]

ENCODER = HashEncoder(64)


def embedded(folder: Path, *, products: int, day: int) -> rebuild.Plan:
    rows = [{"id": f"p{n:05}", "title": f"mug {n}"} for n in range(products)]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = rebuild.begin(
        open_catalogue(folder), ENCODER, alias="products", folder=folder / "rebuild",
        now=NOON + timedelta(days=day), seed="",
    )  # fmt: skip
    for number in range(len(plan.shards)):
        rebuild.embed_shard(plan, number, ENCODER, NoPictures(), now=NOON)
    return plan


def serve(plan: rebuild.Plan, database: VectorDatabase) -> None:
    rebuild.load_shards(plan, database)
    publish.switch(database, "products", plan.collection)


@contextmanager
def full_disk(*, bytes_left: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_the_load_is_done_again_when_there_is_room(tmp_path: Path) -> None:
    from product_index.milvus import MilvusVectorDatabase

    blue, green = embedded(tmp_path, products=100, day=0), embedded(tmp_path, products=2_500, day=1)
    database = MilvusVectorDatabase(str(tmp_path / "index.db"), timeout_s=120)
    serve(blue, database)
    before = state_of(database.open("products"))

    with (
        full_disk(bytes_left=400_000),
        pytest.raises(StoreUnavailable, match=r"writing \d+ rows to 'products_v"),
    ):
        rebuild.load_shards(green, database)
    database.close()

    database = MilvusVectorDatabase(str(tmp_path / "index.db"), timeout_s=120)
    assert (blue.collection, before) == (database.resolve("products"), state_of(database.open("products")))
    twin = rebuild.load_shards(green, InMemoryVectorDatabase())
    assert state_of(twin) == state_of(rebuild.load_shards(green, database))
    database.close()


def test_a_milvus_that_goes_away_is_told_and_the_load_is_done_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is ended after the second thousand rows, and started again on its folder."""
    from demo.stack import start_milvus_lite
    from product_index.milvus import MilvusVectorDatabase, MilvusVectorStore

    blue, green = embedded(tmp_path, products=100, day=0), embedded(tmp_path, products=2_500, day=1)
    server = start_milvus_lite(tmp_path / "index.db", tmp_path / "milvus.log")
    database = MilvusVectorDatabase(server.uri, timeout_s=120)
    serve(blue, database)
    before = state_of(database.open("products"))
    whole, written = MilvusVectorStore.fill, []

    def fill(store: MilvusVectorStore, rows: list[object]) -> None:
        written.append(len(rows))
        if len(written) == 3:
            server.stop()
        whole(store, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(MilvusVectorStore, "fill", fill)
        with pytest.raises(StoreUnavailable, match=server.uri):
            rebuild.load_shards(green, database)
    database.close()
    assert 3 == len(written)
    # At another port: gRPC shares what it knows of an address in a process, and a tried task is a new one.
    server = start_milvus_lite(tmp_path / "index.db", tmp_path / "milvus.log")
    try:
        again = MilvusVectorDatabase(server.uri, timeout_s=120)
        assert (blue.collection, before) == (again.resolve("products"), state_of(again.open("products")))
        twin = rebuild.load_shards(green, InMemoryVectorDatabase())
        assert state_of(twin) == state_of(rebuild.load_shards(green, again))
        again.close()
    finally:
        server.stop()
