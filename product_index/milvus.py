"""Milvus in the role of the vector database: milvus-lite, standalone or cluster by URI alone.

An address ending in `.db` is an embedded milvus-lite folder: one process at a
time, freed by `close()`. Anything else is a server. Nothing here decides what
to write; it keeps what it is given, all of it, and finds it again.

milvus-lite loses acknowledged rows when several processes write one collection
at once: there writers on one machine are kept apart by a file lock, and on
several machines that is the operator's promise. A real server needs no lock.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from . import milvus_rows as words
from .encoder import Vectors
from .errors import CollectionInUse, StoreUnavailable, UnknownCollection
from .milvus_address import NO_PINGS, local_folder, manners, mute_foreign_loggers, without_settings
from .milvus_asking import Asker
from .unit_vectors import check_vectors
from .vector_store import CollectionSpec, Filter, Fingerprint, Hit, ProductVector
from .write_lock import WriteLock

with without_settings():
    from pymilvus import DataType, MilvusClient, MilvusException
    from pymilvus.client.utils import SciPyHelper

_TYPES = {name: DataType[kind] for name, kind in words.TYPES.items()}

# milvus-lite accepts any index type and builds none of the exotic ones; of the
# real ones only FLAT returns full lists under a filter.
INDEX_LITE: dict[str, Any] = {"index_type": "FLAT", "params": {}}
INDEX_SERVER: dict[str, Any] = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
# Rows and ids per request: a thousand rows of 768 numbers are 3 MB of the 64 MB
# that a request may have.
REQUEST_ROWS = 1_000
REQUEST_QUERIES = 64
MAX_LIMIT = 10_000
# Asked for beyond the limit, so that equal scores at its edge are cut by product id.
_EDGE = 16
_INDEX_POLL_S = 0.2


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

    def create(self, name: str, spec: CollectionSpec) -> "MilvusVectorStore":
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

    def open(self, name: str) -> "MilvusVectorStore":
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

    def _store(self, name: str, spec: CollectionSpec) -> "MilvusVectorStore":
        return MilvusVectorStore(self._client, name, spec, asker=self._asker, lite=self._lite)


class MilvusVectorStore:
    """One collection; made by the database.

    It is loaded when it is first asked, not before: a bulk load then does not
    keep a second, slower copy of every row in the memory that serves.
    """

    def __init__(
        self, client: MilvusClient, name: str, spec: CollectionSpec, *, asker: Asker, lite: bool
    ) -> None:
        self._client = client
        self._name = name
        self._spec = spec
        self._asker = asker
        self._lite = lite
        self._writing = WriteLock(asker.uri, name) if lite else contextlib.nullcontext()
        self._loaded = False

    @property
    def name(self) -> str:
        """The physical name of the collection."""
        return self._name

    @property
    def spec(self) -> CollectionSpec:
        """What every row has in common."""
        return self._spec

    def upsert(self, rows: Sequence[ProductVector]) -> None:
        """Write whole rows by key; checked before the first request, answered by the last."""
        check_vectors(rows, self._spec.dimension)
        self._write(rows, words.columns)

    def fill(self, rows: Sequence[ProductVector]) -> None:
        """Write rows that no request wrote before; a server then looks for nothing to replace."""
        check_vectors(rows, self._spec.dimension)
        self._write(rows, words.columns, new=True)

    @property
    def amends(self) -> bool:
        """On milvus-lite. Servers from 2.6.2 on take parts of rows, too, but may lose some: milvus#49980."""
        return self._lite

    def amend(self, rows: Sequence[ProductVector]) -> None:
        """Write all but vectors and their identity."""
        self._write(rows, words.amendments, partial_update=True)

    def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
        """What is stored under these ids, tombstones too, read strongly."""
        return {
            row["product_id"]: words.fingerprint_of(row)
            for row in self._by_id(product_ids, words.FINGERPRINT_FIELDS)
        }

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductVector]:
        """Whole rows under these ids, tombstones too, read strongly."""
        return {
            row["product_id"]: words.from_milvus(row) for row in self._by_id(product_ids, words.ROW_FIELDS)
        }

    def search(self, vectors: Vectors, *, limit: int, where: Filter | None = None) -> list[list[Hit]]:
        """The nearest `limit` products for each row of `vectors`, best first."""
        asked = min(limit, MAX_LIMIT) + _EDGE
        self._load()
        # ef below the limit returns short lists; milvus does not raise it by itself.
        params = {} if self._lite else {"ef": max(128, 2 * asked)}
        found: list[list[Hit]] = []
        for start in range(0, len(vectors), REQUEST_QUERIES):
            page = np.ascontiguousarray(vectors[start : start + REQUEST_QUERIES], dtype=np.float32)
            with self._asker(f"searching {self._name!r}"):
                lists = self._client.search(
                    self._name,
                    data=list(page),
                    anns_field="vector",
                    limit=asked,
                    filter=words.expression(where),
                    output_fields=words.HIT_FIELDS,
                    search_params={"metric_type": "COSINE", "params": params},
                    **self._asker.options(),
                )
            found += [words.best_hits(hits, limit) for hits in lists]
        return found

    def count(self, *, since: datetime | None = None) -> int:
        """How many products can be found; `num_entities` would count old versions too."""
        self._load()
        first = "" if since is None else f" and indexed_at_ms >= {int(since.timestamp() * 1000)}"
        with self._asker(f"counting {self._name!r}"):
            answer = self._client.query(
                self._name, filter=f"deleted == false{first}", output_fields=["count(*)"], **self._strongly()
            )
        return int(answer[0]["count(*)"])

    def rows(self, *, page_size: int = 1000) -> Iterator[list[ProductVector]]:
        """Every row, tombstones too, in key order; ids are gathered first, rows are not."""
        ids: list[str] = []
        self.count()  # a strong read: the iterator of a server is not one, whatever it is told
        with self._asker(f"listing ids of {self._name!r}"):
            pages = self._client.query_iterator(
                self._name,
                batch_size=REQUEST_ROWS,
                filter="",
                output_fields=["product_id"],
                **self._strongly(),
            )
            while page := pages.next():
                ids += [row["product_id"] for row in page]
            pages.close()
        ids.sort()
        for start in range(0, len(ids), page_size):
            held = self.get(ids[start : start + page_size])
            yield [held[key] for key in ids[start : start + page_size] if key in held]

    def forget_tombstones(self, *, before: datetime) -> int:
        """Delete them by what they are, not by name: one that was brought back meanwhile stays."""
        self._load()
        old = f"deleted == true and indexed_at_ms < {int(before.timestamp() * 1000)}"
        with self._writing, self._asker(f"forgetting tombstones of {self._name!r}"):
            answer = self._client.query(
                self._name, filter=old, output_fields=["count(*)"], **self._strongly()
            )
            self._client.delete(self._name, filter=old, **self._asker.options())
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """Make what was written durable, and wait until its index is built."""
        with self._writing, self._asker(f"flushing {self._name!r}"):
            self._client.flush(self._name, **self._asker.options(slow=True))
        self._loaded = False
        self._wait_for_index()
        self._load()

    def _write(
        self,
        rows: Sequence[ProductVector],
        told: Callable[[Sequence[ProductVector]], dict[str, list[Any]]],
        *,
        new: bool = False,
        **how: bool,
    ) -> None:
        latest = list({row.product_id: row for row in rows}.values())  # servers refuse a key twice
        with self._writing:
            for start in range(0, len(latest), REQUEST_ROWS):
                page = latest[start : start + REQUEST_ROWS]
                fields = [
                    {"name": name, "type": _TYPES[name], "values": values}
                    for name, values in told(page).items()
                ]
                with self._asker(f"writing {len(page)} rows to {self._name!r}"):
                    self._send(fields, new=new, **how)

    def _send(self, fields: list[dict[str, Any]], *, new: bool, **how: bool) -> None:
        # Field by field the client packs a request seven times faster than row by row, which is
        # all that its front door takes.
        sender, context = self._client._get_connection(), self._client._generate_call_context()
        if new:  # a timeout by keyword is a time to retry in: what had been written would be there twice
            once: dict[str, Any] = {"retry_times": 0, "retry_on_rate_limit": False}
            sender.batch_insert(self._name, fields, "", self._asker.timeout_s, context, **once)
        else:
            sender.upsert(self._name, fields, context=context, **how, **self._asker.options())

    def _load(self) -> None:
        # What was just made, by anybody, or has been reopened, is not loaded.
        if self._loaded:
            return
        with self._asker(f"loading {self._name!r}"):
            self._client.load_collection(self._name, **self._asker.options(slow=True))
        self._loaded = True

    def _wait_for_index(self) -> None:
        # Rows that are not indexed yet are found by another, coarser index: slower and with less recall.
        with self._asker(f"indexing {self._name!r}"):
            deadline = time.monotonic() + self._asker.options(slow=True)["timeout"]
            while time.monotonic() < deadline:
                said = self._client.describe_index(self._name, "vector", **self._asker.options())
                if not said or not int(said.get("pending_index_rows", 0)):
                    return
                time.sleep(_INDEX_POLL_S)
        raise StoreUnavailable(f"indexing {self._name!r} at {self._asker.uri} goes on; ask again later")

    def _by_id(self, product_ids: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        ids = list(dict.fromkeys(product_ids))
        self._load()
        for start in range(0, len(ids), REQUEST_ROWS):
            page = ids[start : start + REQUEST_ROWS]
            with self._asker(f"reading {len(page)} rows of {self._name!r}"):
                wanted = ", ".join(words.quoted(key) for key in page)
                asked = {"filter": f"product_id in [{wanted}]", "output_fields": fields}
                # Vectors come as arrays: as numbers they take half of the time that an answer takes here.
                yield from self._client.query(self._name, strict_float32=True, **asked, **self._strongly())

    def _strongly(self) -> dict[str, Any]:
        return {"consistency_level": "Strong", **self._asker.options()}


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
