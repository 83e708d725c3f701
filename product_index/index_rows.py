"""One row of the index as of a change: a product, or the tombstone that it leaves. Pure."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from .content import scalar_hash
from .embedding import Seen
from .product import ProductChange
from .vector_store import CollectionSpec, Fingerprint, ProductVector


def new_row(
    change: ProductChange,
    seen: Seen,
    vector: NDArray[np.float32],
    *,
    spec: CollectionSpec,
    now: datetime,
) -> ProductVector:
    """Return the whole row of a product as of this change."""
    product = seen.product
    return ProductVector(
        product_id=product.product_id,
        vector=vector,
        fingerprint=Fingerprint(
            version=change.version or 0,
            occurred_at_ms=change.occurred_at_ms,
            text_hash=seen.text_hash,
            image_digest=seen.image_digest,
            scalar_hash=scalar_hash(product),
            model_id=spec.model_id,
            preprocess_version=spec.preprocess_version,
            deleted=False,
        ),
        title=product.title,
        category=product.category,
        brand=product.brand,
        price=product.price,
        in_stock=product.in_stock,
        indexed_at_ms=_milliseconds(now),
    )


def tombstone(
    change: ProductChange, kept: ProductVector | None, version: int, spec: CollectionSpec, now: datetime
) -> ProductVector:
    """A fence: the last row, marked, so that nothing older can come back.

    Its version is that of the change, or for a removal without one the version
    that it followed: only what is newer, or of the same version and later, passes.
    """
    if kept is None:
        anywhere = np.zeros(spec.dimension, dtype=np.float32)
        anywhere[0] = 1.0
        blank = Fingerprint(
            version=0, occurred_at_ms=0, text_hash="", image_digest="", scalar_hash="",
            model_id=spec.model_id, preprocess_version=spec.preprocess_version, deleted=True,
        )  # fmt: skip
        kept = ProductVector(product_id=change.product_id, vector=anywhere, fingerprint=blank)
    fence = replace(kept.fingerprint, version=version, occurred_at_ms=change.occurred_at_ms, deleted=True)
    return replace(kept, fingerprint=fence, indexed_at_ms=_milliseconds(now))


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
