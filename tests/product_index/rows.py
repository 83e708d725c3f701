"""Rows and changes for tests, by name and version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from product_index.product import Product, ProductChange
from product_index.vector_store import CollectionSpec, Fingerprint, ProductVector, VectorStore

DIMENSION = 16
SPEC = CollectionSpec(dimension=DIMENSION, model_id="hash-1", preprocess_version="words-1")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def unit(seed: int, dimension: int = DIMENSION) -> np.ndarray[Any, np.dtype[np.float32]]:
    drawn = np.random.default_rng(seed).standard_normal(dimension)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def row(
    product_id: str, *, seed: int = 0, version: int = 1, deleted: bool = False, **fields: Any
) -> ProductVector:
    vector = fields.pop("vector", unit(seed))
    return ProductVector(
        product_id=product_id,
        vector=vector,
        fingerprint=Fingerprint(
            version=version,
            occurred_at_ms=1_700_000_000_000 + version,
            text_hash="a" * 64,
            image_digest="missing:" + "b" * 64,
            scalar_hash="c" * 64,
            model_id=SPEC.model_id,
            preprocess_version=SPEC.preprocess_version,
            deleted=deleted,
        ),
        indexed_at_ms=1_700_000_000_123,
        **fields,
    )


def change(product_id: str, *, version: int | None = 1, minute: int = 0, **fields: Any) -> ProductChange:
    fields.setdefault("title", f"a {product_id}")
    return ProductChange(
        product_id=product_id,
        version=version,
        occurred_at=NOON + timedelta(minutes=minute),
        product=Product(product_id=product_id, **fields),
    )


def removal(product_id: str, *, version: int | None = None, minute: int = 0) -> ProductChange:
    return ProductChange(
        product_id=product_id, version=version, occurred_at=NOON + timedelta(minutes=minute), product=None
    )


def state_of(store: VectorStore) -> dict[str, tuple[int, bool, str, bytes]]:
    """What a collection holds, byte for byte: by key version, removal, model and vector."""
    return {
        row.product_id: (
            row.fingerprint.version,
            row.fingerprint.deleted,
            row.fingerprint.model_id,
            row.vector.tobytes(),
        )
        for page in store.rows()
        for row in page
    }
