"""One collection of Milvus in the role of the vector store.

Nothing here decides what to write; it keeps what it is given, all of it, and
finds it again.

milvus-lite loses acknowledged rows when several processes write one collection
at once: there writers on one machine are kept apart by a file lock, and on
several machines that is the operator's promise. A real server needs no lock.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from . import milvus_rows as words
from .encoder import Vectors
from .errors import StoreUnavailable
from .milvus_asking import Asker
from .unit_vectors import check_vectors
from .vector_store import CollectionSpec, Filter, Fingerprint, Hit, ProductVector
from .write_lock import WriteLock

# Rows and ids per request: a thousand rows of 768 numbers are 3 MB of the 64 MB
# that a request may have.
REQUEST_ROWS = 1_000
REQUEST_QUERIES = 64
MAX_LIMIT = 10_000
# Asked for beyond the limit, so that equal scores at its edge are cut by product id.
_EDGE = 16
_INDEX_POLL_S = 0.2


class MilvusVectorStore:
    """One collection; made by the database.

    It is loaded when it is first asked, not before: a bulk load then does not
    keep a second, slower copy of every row in the memory that serves.
    """

    def __init__(self, client: Any, name: str, spec: CollectionSpec, *, asker: Asker, lite: bool) -> None:
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
                with self._asker(f"writing {len(page)} rows to {self._name!r}"):
                    self._asker.send(self._client, self._name, told(page), new=new, **how)

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
