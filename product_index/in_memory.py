"""The twin of a vector database: dictionaries, exact search, one process.

It keeps the promises of `vector_store`; the contract tests run on it and on
every real one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from .encoder import Vectors
from .errors import CollectionInUse, StoreUnavailable, UnknownCollection
from .unit_vectors import check_vectors
from .vector_store import IDENTITY_FIELDS, CollectionSpec, Filter, Fingerprint, Hit, ProductVector


class InMemoryVectorStore:
    """The twin of one collection: exact search over a dictionary."""

    def __init__(self, name: str, spec: CollectionSpec) -> None:
        self._name = name
        self._spec = spec
        self._rows: dict[str, ProductVector] = {}

    @property
    def name(self) -> str:
        """The physical name of the collection."""
        return self._name

    @property
    def spec(self) -> CollectionSpec:
        """What every row has in common."""
        return self._spec

    def upsert(self, rows: Sequence[ProductVector]) -> None:
        """Write rows by key, all or none."""
        check_vectors(rows, self._spec.dimension)
        for row in rows:
            self._rows[row.product_id] = replace(row, vector=row.vector.astype(np.float32, copy=True))

    def fill(self, rows: Sequence[ProductVector]) -> None:
        """As `upsert`, which is fast here."""
        self.upsert(rows)

    @property
    def amends(self) -> bool:
        """It does."""
        return True

    def amend(self, rows: Sequence[ProductVector]) -> None:
        """Write all but vectors and their identity, all or none."""
        if gone := [row.product_id for row in rows if row.product_id not in self._rows]:
            raise StoreUnavailable(f"products {gone} are not stored any more; ask and decide again")
        self.upsert([_amended(self._rows[row.product_id], row) for row in rows])

    def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
        """What is stored under these ids."""
        return {key: row.fingerprint for key, row in self.get(product_ids).items()}

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductVector]:
        """Whole rows under these ids."""
        return {key: self._rows[key] for key in product_ids if key in self._rows}

    def search(self, vectors: Vectors, *, limit: int, where: Filter | None = None) -> list[list[Hit]]:
        """Exact cosine over every row that passes."""
        allowed = [
            row
            for _, row in sorted(self._rows.items())
            if not row.fingerprint.deleted and (where is None or where.allows(row))
        ]
        if not allowed:
            return [[] for _ in vectors]
        scores = np.asarray(vectors, dtype=np.float32) @ np.stack([row.vector for row in allowed]).T
        found = []
        for line in scores:
            best = np.argsort(-line, kind="stable")[:limit]  # stable: ties stay in key order
            found.append([_hit(allowed[index], float(line[index])) for index in best])
        return found

    def count(self, *, since: datetime | None = None) -> int:
        """How many products can be found."""
        first = 0 if since is None else int(since.timestamp() * 1000)
        return sum(row.indexed_at_ms >= first and not row.fingerprint.deleted for row in self._rows.values())

    def rows(self, *, page_size: int = 1000) -> Iterator[list[ProductVector]]:
        """Every row in key order."""
        keys = sorted(self._rows)
        for start in range(0, len(keys), page_size):
            yield [self._rows[key] for key in keys[start : start + page_size]]

    def forget_tombstones(self, *, before: datetime) -> int:
        """Drop them."""
        limit = int(before.timestamp() * 1000)
        rows = self._rows.items()
        old = [key for key, row in rows if row.fingerprint.deleted and row.indexed_at_ms < limit]
        for key in old:
            del self._rows[key]
        return len(old)

    def flush(self) -> None:
        """Nothing to do in memory."""


def _amended(held: ProductVector, row: ProductVector) -> ProductVector:
    identity = {name: getattr(held.fingerprint, name) for name in IDENTITY_FIELDS}
    return replace(row, vector=held.vector, fingerprint=replace(row.fingerprint, **identity))


def _hit(row: ProductVector, score: float) -> Hit:
    shown = ("product_id", "title", "category", "brand", "price", "in_stock")
    told = {name: getattr(row, name) for name in shown}
    return Hit(score=score, version=row.fingerprint.version, **told)


class InMemoryVectorDatabase:
    """The twin of the database."""

    def __init__(self) -> None:
        self._collections: dict[str, InMemoryVectorStore] = {}
        self._aliases: dict[str, str] = {}

    def create(self, name: str, spec: CollectionSpec) -> InMemoryVectorStore:
        """Make an empty collection."""
        if name in self._aliases:
            raise CollectionInUse(f"{name!r} is an alias of {self._aliases[name]!r}; choose another name")
        if name in self._collections:
            self.drop(name)
        self._collections[name] = InMemoryVectorStore(name, spec)
        return self._collections[name]

    def open(self, name: str) -> InMemoryVectorStore:
        """Open by name or alias."""
        physical = self._aliases.get(name, name)
        if physical not in self._collections:
            known = ", ".join([*sorted(self._aliases), *self.names()]) or "none yet"
            raise UnknownCollection(
                f"no collection or alias {name!r}; there are: {known}. Build one with refresh_product_index"
            )
        return self._collections[physical]

    def resolve(self, alias: str) -> str | None:
        """The collection behind the alias."""
        return self._aliases.get(alias)

    def switch(self, alias: str, name: str) -> None:
        """Point the alias at the collection."""
        if name not in self._collections:
            raise UnknownCollection(f"alias {alias!r} cannot move to {name!r}: no such collection")
        if alias in self._collections:
            raise CollectionInUse(f"{alias!r} is a collection's name; set PRODUCT_ALIAS to another")
        self._aliases[alias] = name

    def names(self) -> list[str]:
        """All collections, sorted."""
        return sorted(self._collections)

    def drop(self, name: str) -> None:
        """Drop by physical name."""
        for alias, target in self._aliases.items():
            if name in (alias, target):
                raise CollectionInUse(f"{name!r} is served by alias {alias!r}; switch the alias first")
        self._collections.pop(name, None)

    def close(self) -> None:
        """Nothing to let go of."""
