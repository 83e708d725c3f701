"""The stores that keep the same promises (in memory, milvus-lite, a real Milvus), and a store of pictures."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from product_index import picture_stores
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.vector_store import VectorDatabase, VectorStore

from .fetched import CannotFetch
from .picture_host import PICTURE
from .rows import SPEC
from .s3_store import S3Store, start_s3

DIMENSION = 16


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder(DIMENSION)


@pytest.fixture(scope="session")
def milvus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("milvus") / "index.db"


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a milvus-lite server that holds nothing but our collections."""
    from demo.stack import start_milvus_lite

    folder = tmp_path_factory.mktemp("milvus-server")
    server = start_milvus_lite(folder / "index.db", folder / "milvus.log")
    try:
        yield server.uri
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Milvus: MILVUS_TEST_URI's, or one started for this run."""
    from .real_milvus import NoRealMilvus, start_real_milvus

    try:
        uri, server = start_real_milvus(tmp_path_factory.mktemp("real-milvus"))
    except NoRealMilvus as why:
        pytest.skip(str(why))
    try:
        yield uri
    finally:
        if server is not None:
            server.stop()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("folder", marks=pytest.mark.milvus),
        pytest.param("server", marks=pytest.mark.milvus),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Which store; the real server takes its time, so only the contract and its own tests ask for it."""
    return str(request.param)


@pytest.fixture
def database(kind: str, request: pytest.FixtureRequest) -> Iterator[VectorDatabase]:
    """An empty database of each kind; emptied again afterwards."""
    if kind == "memory":
        yield InMemoryVectorDatabase()
        return
    from product_index.milvus import MilvusVectorDatabase

    fixtures = {"folder": "milvus_folder", "server": "milvus_server", "real": "real_milvus"}
    opened = MilvusVectorDatabase(str(request.getfixturevalue(fixtures[kind])), timeout_s=120)
    yield opened
    for name in opened.names():
        for alias in opened._client.list_aliases(name)["aliases"]:
            opened._client.drop_alias(alias)
        opened.drop(name)
    opened.close()


@pytest.fixture(scope="session")
def kept_store(real_milvus: str) -> Iterator[VectorStore]:
    """One collection of the real server for many tests, where no other looks: to load one takes it 2 s."""
    from product_index.milvus import MilvusVectorDatabase

    everywhere = MilvusVectorDatabase(real_milvus, timeout_s=120)
    if "kept" not in everywhere._client.list_databases():
        everywhere._client.create_database("kept")
    everywhere.close()
    opened = MilvusVectorDatabase(f"{real_milvus}/kept", timeout_s=120)
    yield opened.create("products_v1", SPEC)
    opened._client.drop_collection("products_v1")  # 2.3 lists aliases of its default database only
    opened.close()


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest) -> VectorStore:
    """An empty collection of each kind."""
    if kind != "real":
        database: VectorDatabase = request.getfixturevalue("database")
        return database.create("products_v1", SPEC)
    kept = request.getfixturevalue("kept_store")
    kept.count()  # loads it: what is not loaded cannot be deleted from
    kept._client.delete("products_v1", filter="indexed_at_ms >= 0")
    assert [] == list(kept.rows())
    return kept


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """A server that speaks S3."""
    try:
        store = start_s3(tmp_path_factory.mktemp("s3"))
    except CannotFetch as why:
        pytest.skip(str(why))
    try:
        yield store
    finally:
        store.process.stop()


@pytest.fixture
def s3(s3_server: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """The server, and an environment whose clients find it; `s3:` is its only door."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(s3_server.packages)])
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    picture_stores.store_of.cache_clear()


@pytest.fixture
def bucket() -> Iterator[str]:
    """A store in memory that fsspec brings: the road of `s3:` without Amazon."""
    files = fsspec.filesystem("memory")
    for name, body in (("shop/mug.jpg", PICTURE), ("shop/page.jpg", b"<html>"), ("other/mug.jpg", PICTURE)):
        files.pipe_file(f"/{name}", body)
    yield "memory://shop"
    for name in ("/shop", "/other"):
        files.rm(name, recursive=True)
