"""The roles of the vector database, and what goes in and comes out.

`VectorStore` is one collection; `VectorDatabase` holds collections and the
alias that readers follow. Rows go in, hits come out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .encoder import Vectors

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
