"""Milvus in the role of the vector database: milvus-lite, standalone or cluster by URI alone.

An address ending in `.db` is an embedded milvus-lite folder: one process at a
time, freed by `close()`. Anything else is a server. Nothing here decides what
to write; it keeps what it is given, all of it, and finds it again.

One writer per collection: milvus-lite loses acknowledged rows when several
processes write at once. Writers on one machine are therefore kept apart by a
file lock; on several machines that is the operator's promise.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .encoder import Vectors
from .errors import CollectionInUse, InvalidSettings, StoreUnavailable, UnknownCollection
from .vector_store import CollectionSpec, Filter, Fingerprint, Hit, ProductVector, check_vectors


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Hide MILVUS_URI from pymilvus' import: it reads that (and `.env`) itself, and refuses a folder."""
    kept = dict(os.environ)
    os.environ["MILVUS_URI"] = ""
    try:
        yield
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update(kept)


with _without_settings():
    from pymilvus import DataType, MilvusClient, MilvusException

# Lengths in bytes of UTF-8. Longer values are cut on a character's boundary:
# they are for filters and lists, the catalogue keeps the whole.
VARCHAR_BYTES = {
    "product_id": 256,
    "text_hash": 64,
    "image_digest": 96,
    "scalar_hash": 64,
    "model_id": 256,
    "preprocess_version": 256,
    "title": 1024,
    "category": 512,
    "brand": 256,
}
# Prices are never negative, so this one says "not told". Nullable columns
# would say it better, but older servers do not have them.
NO_PRICE = -1.0
# Where a collection keeps its model's name. Servers keep both; milvus-lite
# forgets descriptions.
SPEC_PROPERTY = "uniecs.spec"
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
# Loading or flushing a large collection takes longer than a question.
_SLOW_FACTOR = 12

_FINGERPRINT_FIELDS = [
    "product_id", "version", "occurred_at_ms", "text_hash", "image_digest", "scalar_hash", "model_id",
    "preprocess_version", "deleted",
]  # fmt: skip
_HIT_FIELDS = ["product_id", "version", "title", "category", "brand", "price", "in_stock"]
_ROW_FIELDS = [*dict.fromkeys(_FINGERPRINT_FIELDS + _HIT_FIELDS), "indexed_at_ms", "vector"]
_NOT_FOUND = 100  # Milvus' code for an unknown collection or alias


class MilvusVectorDatabase:
    """Collections and aliases at one address."""

    def __init__(self, uri: str, *, token: str = "", timeout_s: float = 10.0) -> None:
        """Connect.

        Raises:
            StoreUnavailable: nothing answers, or another process holds the folder.
            InvalidSettings: the address is neither a server's nor a `.db` folder.
        """
        _mute_foreign_loggers()
        self._folder = _local_folder(uri)
        self._asker = _Asker(uri, timeout_s)
        if self._folder is None:
            with self._asker("connecting"):
                self._client = MilvusClient(uri, token=token, timeout=timeout_s)
        else:
            self._client = _open_folder(self._folder, timeout_s)
        with self._asker("asking for the version"):
            self._lite = "lite-3" in str(self._client.get_server_version(timeout=timeout_s))

    def create(self, name: str, spec: CollectionSpec) -> "MilvusVectorStore":
        """Make an empty collection; a left-over of that name is dropped unless it is served."""
        if name in self.names():
            self.drop(name)
        stamp = json.dumps(
            {
                "model_id": spec.model_id,
                "preprocess_version": spec.preprocess_version,
                "dimension": spec.dimension,
            }
        )
        index = self._client.prepare_index_params()
        index.add_index("vector", metric_type="COSINE", **(INDEX_LITE if self._lite else INDEX_SERVER))
        with self._asker(f"creating {name!r}"):
            self._client.create_collection(
                name,
                schema=_schema(spec.dimension, stamp),
                index_params=index,
                properties={SPEC_PROPERTY: stamp},
                consistency_level="Bounded",
                **self._asker.options(slow=True),
            )
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
        return self._store(physical, _spec(physical, said))

    def resolve(self, alias: str) -> str | None:
        """The collection behind the alias, or None."""
        try:
            with self._asker(f"resolving {alias!r}"):
                return str(self._client.describe_alias(alias, **self._asker.options())["collection_name"])
        except UnknownCollection:
            return None

    def switch(self, alias: str, name: str) -> None:
        """Point the alias at the collection, in one step."""
        if name not in self.names():
            raise UnknownCollection(f"alias {alias!r} cannot move to {name!r}: no such collection")
        with self._asker(f"moving alias {alias!r} to {name!r}"):
            move = self._client.create_alias if self.resolve(alias) is None else self._client.alter_alias
            move(collection_name=name, alias=alias, **self._asker.options())

    def names(self) -> list[str]:
        """All collections, sorted."""
        with self._asker("listing collections"):
            return sorted(self._client.list_collections(**self._asker.options()))

    def drop(self, name: str) -> None:
        """Drop a collection by its physical name.

        Never by an alias, and never one that is served: Milvus Lite would drop
        both without a word.
        """
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
    """One collection; made by the database, loaded and ready to be asked."""

    def __init__(
        self, client: MilvusClient, name: str, spec: CollectionSpec, *, asker: "_Asker", lite: bool
    ) -> None:
        self._client = client
        self._name = name
        self._spec = spec
        self._asker = asker
        self._lite = lite
        self._writing = _WriteLock(asker.uri, name)
        self._load()

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
        latest = list({row.product_id: row for row in rows}.values())  # servers refuse a key twice
        with self._writing:
            for start in range(0, len(latest), REQUEST_ROWS):
                page = [_to_milvus(row) for row in latest[start : start + REQUEST_ROWS]]
                with self._asker(f"writing {len(page)} rows to {self._name!r}"):
                    self._client.upsert(self._name, page, **self._asker.options())

    def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
        """What is stored under these ids, tombstones too, read strongly."""
        return {row["product_id"]: _fingerprint(row) for row in self._by_id(product_ids, _FINGERPRINT_FIELDS)}

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductVector]:
        """Whole rows under these ids, tombstones too, read strongly."""
        return {row["product_id"]: _from_milvus(row) for row in self._by_id(product_ids, _ROW_FIELDS)}

    def search(self, vectors: Vectors, *, limit: int, where: Filter | None = None) -> list[list[Hit]]:
        """The nearest `limit` products for each row of `vectors`, best first."""
        asked = min(limit, MAX_LIMIT) + _EDGE
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
                    filter=expression(where),
                    output_fields=_HIT_FIELDS,
                    search_params={"metric_type": "COSINE", "params": params},
                    **self._asker.options(),
                )
            found += [_best(hits, limit) for hits in lists]
        return found

    def count(self) -> int:
        """How many products can be found; `num_entities` would count old versions too."""
        with self._asker(f"counting {self._name!r}"):
            answer = self._client.query(
                self._name, filter="deleted == false", output_fields=["count(*)"], **self._strongly()
            )
        return int(answer[0]["count(*)"])

    def rows(self, *, page_size: int = 1000) -> Iterator[list[ProductVector]]:
        """Every row, tombstones too, in key order; ids are gathered first, rows are not."""
        ids: list[str] = []
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

    def flush(self) -> None:
        """Make what was written durable and quick to search."""
        with self._writing, self._asker(f"flushing {self._name!r}"):
            self._client.flush(self._name, **self._asker.options(slow=True))
        self._load()

    def _load(self) -> None:
        # A collection that another process made, or that has just been reopened, is not loaded.
        with self._asker(f"loading {self._name!r}"):
            self._client.load_collection(self._name, **self._asker.options(slow=True))

    def _by_id(self, product_ids: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        ids = list(dict.fromkeys(product_ids))
        for start in range(0, len(ids), REQUEST_ROWS):
            page = ids[start : start + REQUEST_ROWS]
            with self._asker(f"reading {len(page)} rows of {self._name!r}"):
                wanted = ", ".join(_quoted(key) for key in page)
                yield from self._client.query(
                    self._name, filter=f"product_id in [{wanted}]", output_fields=fields, **self._strongly()
                )

    def _strongly(self) -> dict[str, Any]:
        return {"consistency_level": "Strong", **self._asker.options()}


def expression(where: Filter | None) -> str:
    """A filter in Milvus' language; values are quoted, so they stay values."""
    parts = ["deleted == false"]
    if where is None:
        return parts[0]
    if where.category is not None:
        parts.append(f"category == {_quoted(_cut(where.category, 'category'))}")
    if where.brand is not None:
        parts.append(f"brand == {_quoted(_cut(where.brand, 'brand'))}")
    if where.in_stock is not None:
        parts.append(f"in_stock == {str(where.in_stock).lower()}")
    if where.price_min is not None or where.price_max is not None:
        parts.append(f"price >= {_number(max(0.0, where.price_min or 0.0))}")
    if where.price_max is not None:
        parts.append(f"price <= {_number(where.price_max)}")
    return " and ".join(parts)


class _Asker:
    """The manners of every request: a timeout, no silent retries, errors in our words."""

    def __init__(self, uri: str, timeout_s: float) -> None:
        self.uri = uri
        self._timeout_s = timeout_s

    def options(self, *, slow: bool = False) -> dict[str, Any]:
        return {"timeout": self._timeout_s * (_SLOW_FACTOR if slow else 1), "retry_on_rate_limit": False}

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        try:
            yield
        except MilvusException as error:
            if error.code == _NOT_FOUND:
                raise UnknownCollection(
                    f"{what} at {self.uri}: {error.message}; open it again by alias"
                ) from error
            raise StoreUnavailable(f"{what} at {self.uri} failed: {error.message}") from error
        except (OSError, ValueError) as error:  # a closed channel, a broken address
            raise StoreUnavailable(f"{what} at {self.uri} failed: {error}") from error


class _WriteLock:
    """Keeps writers of one collection apart, across threads and across processes of this machine."""

    def __init__(self, uri: str, collection: str) -> None:
        name = hashlib.sha256(f"{uri}\n{collection}".encode()).hexdigest()[:16]
        self._path = Path(tempfile.gettempdir()) / f"uniecs-index-{os.getuid()}-{name}.lock"
        self._threads = threading.Lock()
        self._file = -1

    def __enter__(self) -> None:
        self._threads.acquire()
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # frees the lock too
        self._threads.release()


# How many databases of this process are open on each embedded folder: they
# share one engine, and the last one to close frees the folder.
_open_folders: dict[str, int] = {}
_folders_lock = threading.Lock()


def _open_folder(folder: str, timeout_s: float) -> MilvusClient:
    with _folders_lock:
        try:
            Path(folder).parent.mkdir(parents=True, exist_ok=True)
            client = MilvusClient(folder, timeout=timeout_s)
        except (MilvusException, OSError) as error:
            raise StoreUnavailable(
                f"the index folder {folder} cannot be opened: another process holds it, or it is no folder of "
                "milvus-lite 3; end that process, or set MILVUS_URI to the running server"
            ) from error
        _open_folders[folder] = _open_folders.get(folder, 0) + 1
    return client


def _close_folder(folder: str) -> None:
    from milvus_lite import server_manager_instance

    with _folders_lock:
        _open_folders[folder] -= 1
        if not _open_folders[folder]:
            server_manager_instance.release_server(folder)


def _local_folder(uri: str) -> str | None:
    if "://" in uri:
        return None
    if not uri.endswith(".db"):
        raise InvalidSettings(
            f"MILVUS_URI is {uri!r}, must be a folder ending in .db or an address such as http://127.0.0.1:19530"
        )
    return str(Path(uri).absolute())


def _mute_foreign_loggers() -> None:
    # Each failed call logs a traceback there; ours carry the same cause, once.
    for name in ("pymilvus", "milvus_lite", "grpc._server", "grpc", "faiss"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _schema(dimension: int, stamp: str) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=stamp)
    for name, bytes_ in VARCHAR_BYTES.items():
        schema.add_field(name, DataType.VARCHAR, max_length=bytes_, is_primary=name == "product_id")
    for name in ("version", "occurred_at_ms", "indexed_at_ms"):
        schema.add_field(name, DataType.INT64)
    for name in ("deleted", "in_stock"):
        schema.add_field(name, DataType.BOOL)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def _spec(name: str, said: dict[str, Any]) -> CollectionSpec:
    stamp = said.get("properties", {}).get(SPEC_PROPERTY) or said.get("description") or ""
    try:
        return CollectionSpec(**json.loads(stamp))
    except (ValueError, TypeError) as error:
        raise UnknownCollection(
            f"collection {name!r} does not say which model made it; rebuild it with refresh_product_index"
        ) from error


def _to_milvus(row: ProductVector) -> dict[str, Any]:
    fingerprint = row.fingerprint
    texts = {
        "product_id": row.product_id,
        "text_hash": fingerprint.text_hash,
        "image_digest": fingerprint.image_digest,
        "scalar_hash": fingerprint.scalar_hash,
        "model_id": fingerprint.model_id,
        "preprocess_version": fingerprint.preprocess_version,
        "title": row.title,
        "category": row.category,
        "brand": row.brand,
    }
    return {name: _cut(text, name) for name, text in texts.items()} | {
        "version": fingerprint.version,
        "occurred_at_ms": fingerprint.occurred_at_ms,
        "indexed_at_ms": row.indexed_at_ms,
        "deleted": fingerprint.deleted,
        "in_stock": row.in_stock,
        "price": NO_PRICE if row.price is None else float(row.price),
        "vector": np.asarray(row.vector, dtype=np.float32),
    }


def _from_milvus(row: dict[str, Any]) -> ProductVector:
    return ProductVector(
        product_id=row["product_id"],
        vector=np.asarray(row["vector"], dtype=np.float32),  # float32 -> float64 -> float32 loses nothing
        fingerprint=_fingerprint(row),
        title=row["title"],
        category=row["category"],
        brand=row["brand"],
        price=_price(row),
        in_stock=row["in_stock"],
        indexed_at_ms=row["indexed_at_ms"],
    )


def _fingerprint(row: dict[str, Any]) -> Fingerprint:
    return Fingerprint(**{name: row[name] for name in _FINGERPRINT_FIELDS if name != "product_id"})


def _price(row: dict[str, Any]) -> float | None:
    return None if row["price"] < 0 else float(row["price"])


def _best(hits: Sequence[Any], limit: int) -> list[Hit]:
    found = [
        Hit(
            product_id=hit["entity"]["product_id"],
            score=float(hit["distance"]),
            version=hit["entity"]["version"],
            title=hit["entity"]["title"],
            category=hit["entity"]["category"],
            brand=hit["entity"]["brand"],
            price=_price(hit["entity"]),
            in_stock=hit["entity"]["in_stock"],
        )
        for hit in hits
    ]
    # Equal vectors may differ in the last bit of their score, by where they lie in memory.
    return sorted(found, key=lambda hit: (-round(hit.score, 6), hit.product_id))[:limit]


def _cut(text: str, field: str) -> str:
    encoded = text.encode("utf-8", "replace")
    return encoded[: VARCHAR_BYTES[field]].decode("utf-8", "ignore")


def _quoted(text: str) -> str:
    """A string literal that ends where it should, whatever is inside."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _number(value: float) -> str:
    if math.isnan(value):
        raise InvalidSettings("a price of the filter is not a number; give one of at least 0")
    return repr(float(np.clip(value, -1e300, 1e300)))
