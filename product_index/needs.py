"""What a change asks of the index: nothing, a fence, a price, or the encoder. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from .content import scalar_hash
from .embedding import Seen
from .product import ProductChange
from .standing import is_news
from .vector_store import CollectionSpec, Fingerprint


class Need(StrEnum):
    """What a change asks of the index."""

    STALE = "stale"  # something as new or newer is stored
    REMOVE = "remove"  # leave a tombstone
    UNCHANGED = "unchanged"  # only the version moves on
    SCALAR = "scalar"  # price, stock, ...: the vector stays
    EMBED = "embed"  # text or picture differ: the encoder is needed


def decide(change: ProductChange, known: Fingerprint | None, seen: Seen | None, spec: CollectionSpec) -> Need:
    """Return what the change needs.

    Args:
        change: to decide about.
        known: what is stored of its product.
        seen: what the encoder would see; needed for news that is not a removal.
        spec: of the collection.
    """
    if not is_news(change, known):
        return Need.STALE
    if change.product is None:
        return Need.REMOVE
    if seen is None:
        raise ValueError(f"product {change.product_id!r}: look at it before deciding")
    if known is None:
        return Need.EMBED
    if (known.model_id, known.preprocess_version) != (spec.model_id, spec.preprocess_version):
        return Need.EMBED
    if known.image_digest != seen.image_digest:
        return Need.EMBED
    if (change.version, change.occurred_at_ms) == (known.version, known.occurred_at_ms):
        return Need.STALE  # asked again for its picture, which is still not there
    if known.text_hash != seen.text_hash:
        return Need.EMBED
    if known.deleted or known.scalar_hash != scalar_hash(change.product):
        return Need.SCALAR
    return Need.UNCHANGED


def removals(
    latest: Mapping[str, ProductChange], known: Mapping[str, Fingerprint], spec: CollectionSpec
) -> dict[str, Need]:
    """What those changes need that there is nothing to look at for."""
    gone = {key: change for key, change in latest.items() if change.product is None}
    return {key: decide(change, known.get(key), None, spec) for key, change in gone.items()}
