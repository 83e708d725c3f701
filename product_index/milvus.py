"""Milvus in the role of the vector database: milvus-lite, standalone or cluster by URI alone.

An address ending in `.db` is an embedded milvus-lite folder: one process at a
time, freed by `close()`. Anything else is a server. Here are its collections and
aliases; what is in one of them is `milvus_store`'s business.
"""

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import milvus_rows as words
from .errors import CollectionInUse, StoreUnavailable, UnknownCollection
from .milvus_address import NO_PINGS, local_folder, manners, mute_foreign_loggers, without_settings
from .milvus_asking import Asker
from .milvus_store import MilvusVectorStore
from .vector_store import CollectionSpec

with without_settings():
    from pymilvus import DataType, MilvusClient, MilvusException
    from pymilvus.client.utils import SciPyHelper

__all__ = ["MilvusVectorDatabase", "MilvusVectorStore"]

# milvus-lite accepts any index type and builds none of the exotic ones; of the
# real ones only FLAT returns full lists under a filter.
INDEX_LITE: dict[str, Any] = {"index_type": "FLAT", "params": {}}
INDEX_SERVER: dict[str, Any] = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}


class MilvusVectorDatabase:
    """Collections and aliases at one address."""

    def __init__(self, uri: str, *, token: str = "", timeout_s: float = 10.0) -> None:
        """Connect.

        Raises:
            StoreUnavailable: nothing answers, or another process holds the folder.
            InvalidSettings: the address is neither a server's nor a `.db` folder.
        """
        mute_foreign_loggers()
        self._folder = local_folder(uri)
        self._asker = Asker(uri, timeout_s)
        if self._folder is None:
            with self._asker("connecting (is it running, is MILVUS_URI right?)"):
                self._client = MilvusClient(uri, token=token, timeout=timeout_s, **manners(uri))
        else:
            self._client = _open_folder(self._folder, timeout_s)
        with self._asker("asking for the version"):
            self._lite = "lite-3" in str(self._client.get_server_version(timeout=timeout_s))
        # Where SciPy is installed, the client loads it to look at the first row that it writes or is asked
        # with: half a second, which the first changes of a stream would wait.
        SciPyHelper.is_scipy_sparse(None)

    def create(self, name: str, spec: CollectionSpec) -> MilvusVectorStore:
        """Make an empty collection; a left-over of that name is dropped unless it is served."""
        if name in self.names():
            self.drop(name)
        elif self.resolve(name) is not None:
            raise CollectionInUse(f"{name!r} is an alias of {self.resolve(name)!r}; choose another name")
        stamp = json.dumps(asdict(spec))
        index = self._client.prepare_index_params()
        index.add_index("vector", metric_type="COSINE", **(INDEX_LITE if self._lite else INDEX_SERVER))
        with self._asker(f"creating {name!r}"):
            self._client.create_collection(
                name,
                schema=_schema(spec.dimension, stamp),
                properties={words.SPEC_PROPERTY: stamp},
                consistency_level="Bounded",
                **self._asker.options(slow=True),
            )
            # Not waited for: there is nothing to index yet, and the client looks every half second only.
            self._client.create_index(name, index, sync=False, **self._asker.options(slow=True))
        return self._store(name, spec)

    def open(self, name: str) -> MilvusVectorStore:
        """Open a collection by its name or by an alias, resolved now."""
        physical = self.resolve(name) or name
        if physical not in self.names():
            known = ", ".join([*self._aliases(), *self.names()]) or "none yet"
            raise UnknownCollection(
                f"no collection or alias {name!r}; there are: {known}. Build one with refresh_product_index"
            )
        with self._asker(f"describing {physical!r}"):
            said = self._client.describe_collection(physical, **self._asker.options())
        return self._store(physical, words.spec_of(physical, said))

    def resolve(self, alias: str) -> str | None:
        """The collection behind the alias, or None."""
        try:
            with self._asker(f"resolving {alias!r}"):
                return str(self._client.describe_alias(alias, **self._asker.options())["collection_name"])
        except UnknownCollection:
            return None

    def switch(self, alias: str, name: str) -> None:
        """Point the alias at the collection, in one step."""
        held = self.names()
        if name not in held:
            raise UnknownCollection(f"alias {alias!r} cannot move to {name!r}: no such collection")
        if alias in held:
            raise CollectionInUse(f"{alias!r} is a collection's name; set PRODUCT_ALIAS to another")
        with self._asker(f"moving alias {alias!r} to {name!r}"):
            move = self._client.create_alias if self.resolve(alias) is None else self._client.alter_alias
            move(collection_name=name, alias=alias, **self._asker.options())

    def names(self) -> list[str]:
        """All collections, sorted."""
        with self._asker("listing collections"):
            return sorted(self._client.list_collections(**self._asker.options()))

    def drop(self, name: str) -> None:
        """Drop a collection by its physical name; Milvus would drop one that is served without a word."""
        if name not in self.names():
            if self.resolve(name) is not None:
                raise CollectionInUse(f"{name!r} is an alias of {self.resolve(name)!r}; name the collection")
            return
        with self._asker(f"listing aliases of {name!r}"):
            served = self._client.list_aliases(name, **self._asker.options())["aliases"]
        if served:
            raise CollectionInUse(f"{name!r} is served by alias {served[0]!r}; switch the alias first")
        with self._asker(f"dropping {name!r}"):
            self._client.drop_collection(name, **self._asker.options())

    def close(self) -> None:
        """Let go of the connection; an embedded folder can then be opened by another process."""
        self._client.close()
        if self._folder is not None:
            _close_folder(self._folder)
            self._folder = None

    def _aliases(self) -> list[str]:
        with self._asker("listing aliases"):
            return sorted(
                alias
                for name in self.names()
                for alias in self._client.list_aliases(name, **self._asker.options())["aliases"]
            )

    def _store(self, name: str, spec: CollectionSpec) -> MilvusVectorStore:
        return MilvusVectorStore(self._client, name, spec, asker=self._asker, lite=self._lite)


# How many databases of this process are open on each embedded folder: they
# share one engine, and the last one to close frees the folder.
_open_folders: dict[str, int] = {}
_folders_lock = threading.Lock()


def _open_folder(folder: str, timeout_s: float) -> MilvusClient:
    with _folders_lock:
        try:
            Path(folder).parent.mkdir(parents=True, exist_ok=True)
            client = MilvusClient(folder, timeout=timeout_s, grpc_options=NO_PINGS)
        except (MilvusException, OSError) as error:
            raise StoreUnavailable(
                f"the index folder {folder} cannot be opened: another process holds it, or it is no "
                "folder of milvus-lite 3; end that process, or set MILVUS_URI to the running server"
            ) from error
        _open_folders[folder] = _open_folders.get(folder, 0) + 1
    return client


def _close_folder(folder: str) -> None:
    from milvus_lite import server_manager_instance

    with _folders_lock:
        _open_folders[folder] -= 1
        if not _open_folders[folder]:
            server_manager_instance.release_server(folder)


def _schema(dimension: int, stamp: str) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=stamp)
    for name, bytes_ in words.VARCHAR_BYTES.items():
        schema.add_field(name, DataType.VARCHAR, max_length=bytes_, is_primary=name == "product_id")
    for name, kind in words.OTHER_TYPES.items():
        schema.add_field(name, DataType[kind])
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    return schema
