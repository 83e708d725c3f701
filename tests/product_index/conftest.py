"""The stores that keep the same promises: in memory, an embedded folder, a server process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from product_index.encoder import HashEncoder
from product_index.vector_store import InMemoryVectorDatabase, VectorDatabase

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


@pytest.fixture(
    params=[
        "memory",
        pytest.param("folder", marks=pytest.mark.milvus),
        pytest.param("server", marks=pytest.mark.milvus),
    ]
)
def database(request: pytest.FixtureRequest) -> Iterator[VectorDatabase]:
    """An empty database of each kind; emptied again afterwards."""
    if request.param == "memory":
        yield InMemoryVectorDatabase()
        return
    from product_index.milvus import MilvusVectorDatabase

    uri = request.getfixturevalue("milvus_folder" if request.param == "folder" else "milvus_server")
    opened = MilvusVectorDatabase(str(uri))
    yield opened
    for name in opened.names():
        for alias in opened._client.list_aliases(name)["aliases"]:
            opened._client.drop_alias(alias)
        opened.drop(name)
    opened.close()
