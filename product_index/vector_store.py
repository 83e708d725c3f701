"""The roles of the vector database, and their in-memory twin.

`VectorStore` is one collection; `VectorDatabase` holds collections and the
alias that readers follow. The same contract tests run on the twin and on
every real one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .encoder import Vectors
from .errors import CollectionInUse, StoreUnavailable, UnknownCollection
from .unit_vectors import check_vectors

# Of a fingerprint: which vector it is. It changes with the vector or not at all.
IDENTITY_FIELDS = ("text_hash", "image_digest", "model_id", "preprocess_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSpec:
    """What every row of one collection has in common."""

    dimension: int
    model_id: str
    preprocess_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Identity of content and encoder, and where in time it stands."""

    version: int
    occurred_at_ms: int
    text_hash: str
    image_digest: str
    scalar_hash: str
    model_id: str
    preprocess_version: str
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVector:
    """A row of the index: a vector with its id, version and fingerprint.

    Attributes:
        vector: shape (D,), float32, of unit length. A tombstone keeps one too
            (the last known, or any unit vector): the column is not nullable.
        deleted: a tombstone; never found by a search.
        price: None where the shop does not tell.
    """

    product_id: str
    vector: NDArray[np.float32]
    fingerprint: Fingerprint
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    in_stock: bool = True
    indexed_at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which products may be found; None means any."""

    category: str | None = None
    brand: str | None = None
    price_min: float | None = None
    price_max: float | None = None
    in_stock: bool | None = None

    def allows(self, row: "ProductVector | Hit") -> bool:
        """Whether the row passes: the rule that every adapter must agree with."""
        if self.category is not None and row.category != self.category:
            return False
        if self.brand is not None and row.brand != self.brand:
            return False
        if self.in_stock is not None and row.in_stock != self.in_stock:
            return False
        if self.price_min is not None and (row.price is None or row.price < self.price_min):
            return False
        return not (self.price_max is not None and (row.price is None or row.price > self.price_max))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A stored product with a score (cosine, in [-1, 1])."""

    product_id: str
    score: float
    version: int
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    in_stock: bool = True


class VectorStore(Protocol):
    """One collection: keeps product vectors and finds the nearest."""

    @property
    def name(self) -> str:
        """The physical name of the collection."""
        ...

    @property
    def spec(self) -> CollectionSpec:
        """What every row has in common."""
        ...

    def upsert(self, rows: Sequence[ProductVector]) -> None:
        """Write rows by key; return once the store has answered for all of them.

        The same key twice in one call is refused by the caller's coalescing,
        not here: the last one wins.

        Raises:
            InvalidVector: nothing of the call was written.
            StoreUnavailable: some may have been written; the same call may be repeated.
        """
        ...

    def fill(self, rows: Sequence[ProductVector]) -> None:
        """Write rows under keys that nobody has written, in a collection that nobody reads yet; faster.

        Not to be repeated: after a failure begin with an empty collection.

        Raises:
            InvalidVector: nothing of the call was written.
            StoreUnavailable: some may have been written.
        """
        ...

    @property
    def amends(self) -> bool:
        """Whether `amend` works here; where it does not, read the rows and write them whole."""
        ...

    def amend(self, rows: Sequence[ProductVector]) -> None:
        """Write stored rows anew; vector, content hashes and names of the model stay as they are.

        Raises:
            StoreUnavailable: some may have been written, or one is not stored: ask again, then decide.
        """
        ...

    def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
        """What is stored under these ids, tombstones too, read strongly."""
        ...

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductVector]:
        """Whole rows under these ids, tombstones too, read strongly."""
        ...

    def search(self, vectors: Vectors, *, limit: int, where: Filter | None = None) -> list[list[Hit]]:
        """The nearest `limit` products for each row of `vectors` (N, D), best first.

        Tombstones are never found. Ties are broken by product id. A server may
        answer some seconds behind the writes, but never behind what a strong
        read (`count`, `get`, `fingerprints`) of the same client has seen.
        """
        ...

    def count(self, *, since: datetime | None = None) -> int:
        """How many products can be found (tombstones not counted); of those written since, if given."""
        ...

    def rows(self, *, page_size: int = 1000) -> Iterator[list[ProductVector]]:
        """Every row, tombstones too, in key order."""
        ...

    def forget_tombstones(self, *, before: datetime) -> int:
        """Drop the tombstones that were written before then, and return how many.

        What a tombstone kept out may come back afterwards: `before` must be
        earlier than the oldest change that can still be replayed.
        """
        ...

    def flush(self) -> None:
        """Make what was written durable and quick to search; for after bulk loads."""
        ...


class VectorDatabase(Protocol):
    """Collections, and the alias that readers follow."""

    def create(self, name: str, spec: CollectionSpec) -> VectorStore:
        """Make an empty collection; a left-over of that name is dropped unless an alias points to it.

        Raises:
            CollectionInUse: an alias points to it, or the name is an alias.
        """
        ...

    def open(self, name: str) -> VectorStore:
        """Open a collection by its name or by an alias, resolved now.

        Raises:
            UnknownCollection: neither exists.
        """
        ...

    def resolve(self, alias: str) -> str | None:
        """The collection behind the alias, or None."""
        ...

    def switch(self, alias: str, name: str) -> None:
        """Point the alias at the collection, in one step.

        Raises:
            UnknownCollection: no such collection.
            CollectionInUse: a collection has the name that the alias should get.
        """
        ...

    def names(self) -> list[str]:
        """All collections, sorted."""
        ...

    def drop(self, name: str) -> None:
        """Drop a collection by its physical name.

        Raises:
            CollectionInUse: an alias points to it, or the name is an alias.
        """
        ...

    def close(self) -> None:
        """Let go of connections and locks."""
        ...


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
