"""Ask, decide, act: which changes need what, and doing it.

One function for a page of a snapshot and for a batch of a stream. Safe to
repeat: rows are keyed by product and guarded by (version, occurred_at). It
assumes one writer per product at a time; the store is asked strongly.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .content import MISSING, scalar_hash
from .embedding import Seen, check_same_space, embed_seen, look
from .encoder import Encoder
from .pictures import Pictures
from .product import ProductChange
from .vector_store import CollectionSpec, Fingerprint, ProductVector, VectorStore


class Need(StrEnum):
    """What a change asks of the index."""

    STALE = "stale"  # something as new or newer is stored
    REMOVE = "remove"  # leave a tombstone
    UNCHANGED = "unchanged"  # only the version moves on
    SCALAR = "scalar"  # price, stock, ...: the vector stays
    EMBED = "embed"  # text or picture differ: the encoder is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a page or a batch; every change is in exactly one count.

    Attributes:
        superseded: a later change of the same product was in the same call.
        failed: (product id, reason) of products that cannot be embedded; what was
            stored of them stays.
        notes: one sentence per picture that could not be had; its product is
            embedded from its text.
        outcomes: per product what became of its latest change: `new`, `text`,
            `picture` (all three embedded), `scalar`, `unchanged`, `delete`, `stale`, `failed`.
    """

    embedded: int = 0
    scalar: int = 0
    unchanged: int = 0
    deleted: int = 0
    stale: int = 0
    superseded: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=(), repr=False)
    outcomes: Mapping[str, str] = field(default_factory=dict, repr=False)
    took_ms: int = 0

    @property
    def written(self) -> int:
        """How many rows were written."""
        return self.embedded + self.scalar + self.unchanged + self.deleted


def apply_changes(
    changes: Sequence[ProductChange],
    encoder: Encoder,
    store: VectorStore,
    pictures: Pictures,
    *,
    now: datetime,
) -> Receipt:
    """Bring the index up to these changes; return once the store has answered.

    Raises:
        ModelMismatch: the encoder does not belong to this collection; nothing was written.
        Retryable: encoder, pictures or store did not answer; repeat the same call.
    """
    began = time.perf_counter()
    check_same_space(encoder, store.spec, store.name)
    latest = coalesce(changes)
    known = store.fingerprints([change.product_id for change in latest])
    fresh = [change for change in latest if is_news(change, known.get(change.product_id))]
    seen = {
        change.product_id: look(change.product, pictures, encoder)
        for change in fresh
        if change.product is not None
    }
    needs = {
        change.product_id: decide(
            change, known.get(change.product_id), seen.get(change.product_id), store.spec
        )
        for change in latest
    }
    wanted = [seen[key] for key, need in needs.items() if need is Need.EMBED]
    embedded = embed_seen(wanted, encoder)
    kept = store.get([key for key in needs if needs[key] not in (Need.STALE, Need.EMBED) and key in known])
    failed = {error.product_id: error.reason for error in embedded.failed}
    highest = _highest_versions(changes)
    rows = []
    for change in latest:
        key = change.product_id
        if needs[key] is Need.STALE or key in failed:
            continue
        if needs[key] is Need.REMOVE:
            rows.append(_tombstone(change, kept.get(key), highest[key], store.spec, now))
            continue
        vector = embedded.vectors[key] if needs[key] is Need.EMBED else kept[key].vector
        rows.append(new_row(change, seen[key], vector, spec=store.spec, now=now))
    if rows:
        store.upsert(rows)
    outcomes = {
        key: "failed" if key in failed else _outcome(need, known.get(key), seen.get(key))
        for key, need in needs.items()
    }
    took_ms = int((time.perf_counter() - began) * 1000)
    return replace(_receipt(changes, latest, needs, failed, seen), outcomes=outcomes, took_ms=took_ms)


def refresh_page(
    page: Sequence[ProductChange],
    encoder: Encoder,
    store: VectorStore,
    pictures: Pictures,
    *,
    now: datetime,
) -> Receipt:
    """Bring the index up to a page of a snapshot: the same path as a batch of a stream."""
    return apply_changes(page, encoder, store, pictures, now=now)


def coalesce(changes: Sequence[ProductChange]) -> list[ProductChange]:
    """Keep the latest change per product; among equals the later in the sequence."""
    latest: dict[str, ProductChange] = {}
    for change in changes:
        held = latest.get(change.product_id)
        if held is None or not _precedes(change, held):
            latest[change.product_id] = change
    return list(latest.values())


def is_news(change: ProductChange, known: Fingerprint | None) -> bool:
    """Whether the change is newer than what is stored, or may bring a picture that was missing."""
    if known is None:
        return True
    if change.version is None:
        return change.occurred_at_ms >= known.occurred_at_ms and not known.deleted
    ours, stored = (change.version, change.occurred_at_ms), (known.version, known.occurred_at_ms)
    if ours == stored:
        return not known.deleted and not change.is_removal and known.image_digest.startswith(MISSING)
    return ours > stored


def decide(change: ProductChange, known: Fingerprint | None, seen: Seen | None, spec: CollectionSpec) -> Need:
    """Return what the change needs; pure.

    Args:
        seen: what the encoder would see; needed for news that is not a removal.
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


def _tombstone(
    change: ProductChange, kept: ProductVector | None, highest: int, spec: CollectionSpec, now: datetime
) -> ProductVector:
    """A fence: the last row, marked, so that nothing older can come back.

    A removal without a version takes the highest that is stored or came in the
    same call: only what is newer, or of the same version and later, passes.
    """
    if kept is None:
        anywhere = np.zeros(spec.dimension, dtype=np.float32)
        anywhere[0] = 1.0
        blank = Fingerprint(
            version=0, occurred_at_ms=0, text_hash="", image_digest="", scalar_hash="",
            model_id=spec.model_id, preprocess_version=spec.preprocess_version, deleted=True,
        )  # fmt: skip
        kept = ProductVector(product_id=change.product_id, vector=anywhere, fingerprint=blank)
    version = max(kept.fingerprint.version, highest) if change.version is None else change.version
    fence = replace(kept.fingerprint, version=version, occurred_at_ms=change.occurred_at_ms, deleted=True)
    return replace(kept, fingerprint=fence, indexed_at_ms=_milliseconds(now))


def _precedes(change: ProductChange, held: ProductChange) -> bool:
    """Whether the change is older than the one held; without a version, time alone tells."""
    if change.version is None or held.version is None:
        return change.occurred_at_ms < held.occurred_at_ms
    return (change.version, change.occurred_at_ms) < (held.version, held.occurred_at_ms)


def _highest_versions(changes: Sequence[ProductChange]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for change in changes:
        highest[change.product_id] = max(highest.get(change.product_id, 0), change.version or 0)
    return highest


def _receipt(
    changes: Sequence[ProductChange],
    latest: Sequence[ProductChange],
    needs: Mapping[str, Need],
    failed: Mapping[str, str],
    seen: Mapping[str, Seen],
) -> Receipt:
    done = [need for key, need in needs.items() if key not in failed]
    return Receipt(
        embedded=done.count(Need.EMBED),
        scalar=done.count(Need.SCALAR),
        unchanged=done.count(Need.UNCHANGED),
        deleted=done.count(Need.REMOVE),
        stale=done.count(Need.STALE),
        superseded=len(changes) - len(latest),
        failed=tuple(failed.items()),
        notes=tuple(f"product {key!r}: {note}" for key, one in seen.items() for note in one.notes),
    )


def _outcome(need: Need, known: Fingerprint | None, seen: Seen | None) -> str:
    if need is Need.REMOVE:
        return "delete"
    if need is not Need.EMBED:
        return need.value
    if known is None or known.deleted or seen is None:
        return "new"
    return "text" if known.image_digest == seen.image_digest else "picture"


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
