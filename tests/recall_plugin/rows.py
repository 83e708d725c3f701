"""Rows of an index, embedded by the twin."""

from product_index.embedding import spec_of
from product_index.encoder import Content, Encoder, HashEncoder
from product_index.vector_store import Fingerprint, ProductVector

ENCODER = HashEncoder(32)
SPEC = spec_of(ENCODER)


def row(
    product_id: str,
    content: Content | str,
    *,
    encoder: Encoder = ENCODER,
    deleted: bool = False,
    **fields: object,
) -> ProductVector:
    """A first version of a product; words alone are a content, too."""
    fingerprint = Fingerprint(
        version=1,
        occurred_at_ms=0,
        text_hash="",
        image_digest="",
        scalar_hash="",
        model_id=encoder.model_id,
        preprocess_version=encoder.preprocess_version,
        deleted=deleted,
    )
    vector = encoder.embed([Content(text=content) if isinstance(content, str) else content])[0]
    return ProductVector(product_id=product_id, vector=vector, fingerprint=fingerprint, **fields)  # type: ignore[arg-type]
