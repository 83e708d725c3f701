"""Rows of an index, embedded by the twin."""

from product_index.encoder import Content, HashEncoder
from product_index.vector_store import Fingerprint, ProductVector

ENCODER = HashEncoder(32)


def row(product_id: str, content: Content, *, deleted: bool = False, **fields: object) -> ProductVector:
    fingerprint = Fingerprint(
        version=1,
        occurred_at_ms=0,
        text_hash="",
        image_digest="",
        scalar_hash="",
        model_id=ENCODER.model_id,
        preprocess_version=ENCODER.preprocess_version,
        deleted=deleted,
    )
    vector = ENCODER.embed([content])[0]
    return ProductVector(product_id=product_id, vector=vector, fingerprint=fingerprint, **fields)  # type: ignore[arg-type]
