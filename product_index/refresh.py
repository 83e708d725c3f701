"""Ask, decide, act: which changes need what, and doing it.

One function for a page of a snapshot and for a batch of a stream. Safe to
repeat: rows are keyed by product and guarded by (version, occurred_at). It
assumes one writer per product at a time; the store is asked strongly.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .content import scalar_hash
from .embedding import Seen, check_same_space, look_and_embed
from .encoder import Encoder
from .pictures import Pictures
from .product import ProductChange
from .standing import Standing, fold, follows, standing_of
from .vector_store import CollectionSpec, Fingerprint, ProductVector, VectorStore
from .write_behind import WriteBehind

# So many products are asked for, decided and written at a time: while one page is embedded, the next
# are asked for and the one before is written. A store that writes whole rows only is a server, and each
# question to it waits for its clock to tick: what one waits for, the others do, too.
PAGE_PRODUCTS, PAGE_WHOLE_ROWS = 256, 512
ASKED_AT_ONCE = 4
# Stands for the vector where a row is amended: the store keeps its own.
_AS_STORED = np.zeros(0, dtype=np.float32)


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
    before_writing: Callable[[], None] = lambda: None,
) -> Receipt:
    """Bring the index up to these changes; return once the store has answered.

    Args:
        changes: in order; of one product the latest counts.
        encoder: of the collection's model.
        store: one collection.
        pictures: where they are read.
        now: told as the time of writing.
        before_writing: asked right before each write; what it raises is not written.

    Raises:
        ModelMismatch: the encoder does not belong to this collection; nothing was written.
        Retryable: encoder, pictures or store did not answer; repeat the same call.
    """
    began = time.perf_counter()
    check_same_space(encoder, store.spec, store.name)
    pages = _pages(changes, PAGE_PRODUCTS if store.amends else PAGE_WHOLE_ROWS)
    receipts = []
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="ask") as ahead, WriteBehind() as write:
        for page, stored in _asked_ahead(pages, store, ahead):
            receipt, written = _apply_page(page, stored, encoder, store, pictures, now)
            for work in written:
                write(work, before=before_writing)
            receipts.append(receipt)
    return replace(joined(receipts), took_ms=int((time.perf_counter() - began) * 1000))


def _apply_page(
    changes: Sequence[ProductChange],
    stored: "_Stored",
    encoder: Encoder,
    store: VectorStore,
    pictures: Pictures,
    now: datetime,
) -> tuple[Receipt, list[Callable[[], None]]]:
    """What becomes of a page, and what there is to write for it."""
    known, whole = stored
    held = fold(changes, known)
    latest = {key: one.change for key, one in held.items() if one.change is not None}
    products = [change.product for change in latest.values() if change.product is not None]

    needs = dict.fromkeys(held, Need.STALE) | _removals(latest, known, store.spec)

    def to_embed(one: Seen) -> bool:
        key = one.product.product_id
        needs[key] = decide(latest[key], known.get(key), one, store.spec)
        return needs[key] is Need.EMBED

    looked, embedded = look_and_embed(products, pictures, encoder, wanted=to_embed)
    seen = {one.product.product_id: one for one in looked}
    failed = {error.product_id: error.reason for error in embedded.failed}
    if removed := [key for key, need in needs.items() if need is Need.REMOVE and key in known.keys() - whole]:
        whole = {**whole, **store.get(removed)}
    rows, amended = [], []
    for key, change in latest.items():
        if needs[key] is Need.STALE or key in failed:
            continue
        if needs[key] is Need.REMOVE:
            rows.append(_tombstone(change, whole.get(key), held[key].version, store.spec, now))
        elif needs[key] is Need.EMBED:
            rows.append(new_row(change, seen[key], embedded.vectors[key], spec=store.spec, now=now))
        elif key in whole:
            rows.append(new_row(change, seen[key], whole[key].vector, spec=store.spec, now=now))
        else:
            amended.append(new_row(change, seen[key], _AS_STORED, spec=store.spec, now=now))
    writes: list[Callable[[], None]] = [partial(store.upsert, rows)] if rows else []
    if amended:
        writes.append(partial(store.amend, amended))
    outcomes = {
        key: "failed" if key in failed else _outcome(need, known.get(key), seen.get(key))
        for key, need in needs.items()
    }
    return replace(_receipt(held, needs, failed, seen), outcomes=outcomes), writes


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
    if len({change.product_id for change in changes}) == len(changes):
        return list(changes)
    held = fold(changes, {}).values()
    return [one.change for one in held if one.change is not None]


def is_news(change: ProductChange, known: Fingerprint | None) -> bool:
    """Whether the change is newer than what is stored, or may bring a picture that was missing."""
    return known is None or follows(change, standing_of(known))


def decide(change: ProductChange, known: Fingerprint | None, seen: Seen | None, spec: CollectionSpec) -> Need:
    """Return what the change needs; pure.

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


def _removals(
    latest: Mapping[str, ProductChange], known: Mapping[str, Fingerprint], spec: CollectionSpec
) -> dict[str, Need]:
    """What those changes need that there is nothing to look at for."""
    removals = {key: change for key, change in latest.items() if change.product is None}
    return {key: decide(change, known.get(key), None, spec) for key, change in removals.items()}


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


def joined(receipts: Sequence[Receipt]) -> Receipt:
    """One receipt of several, of products that differ."""
    counts = ("embedded", "scalar", "unchanged", "deleted", "stale", "superseded", "took_ms")
    return Receipt(
        failed=tuple(one for receipt in receipts for one in receipt.failed),
        notes=tuple(one for receipt in receipts for one in receipt.notes),
        outcomes={key: said for receipt in receipts for key, said in receipt.outcomes.items()},
        **{name: sum(getattr(receipt, name) for receipt in receipts) for name in counts},
    )


def _pages(changes: Sequence[ProductChange], size: int) -> list[list[ProductChange]]:
    """Changes by so many products; those of one product stay together and in order."""
    by_product: dict[str, list[ProductChange]] = {}
    for change in changes:
        by_product.setdefault(change.product_id, []).append(change)
    held = list(by_product.values())
    starts = range(0, len(held), size)
    return [[one for of in held[start : start + size] for one in of] for start in starts]


# Fingerprints by product, and those whole rows that were asked for with them.
_Stored = tuple[Mapping[str, Fingerprint], Mapping[str, ProductVector]]


def _asked_ahead(
    pages: Sequence[Sequence[ProductChange]], store: VectorStore, ahead: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[ProductChange], _Stored]]:
    """Each page with what is stored of it; the next are asked for while this one is worked on.

    No product is in two pages, so what is written meanwhile changes no answer.
    """

    def ask(page: Sequence[ProductChange]) -> Future[_Stored]:
        return ahead.submit(_stored, [one.product_id for one in page], store)

    left = iter(pages)
    asked = deque((page, ask(page)) for page in islice(left, ASKED_AT_ONCE))
    while asked:
        page, answer = asked.popleft()
        stored = answer.result()
        asked.extend((following, ask(following)) for following in islice(left, 1))
        yield page, stored


def _stored(product_ids: Sequence[str], store: VectorStore) -> _Stored:
    """What is stored, asked once: a price needs the vector, too, where a store writes whole rows only."""
    if store.amends:
        return store.fingerprints(product_ids), {}
    whole = store.get(product_ids)
    return {key: row.fingerprint for key, row in whole.items()}, whole


def _tombstone(
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


def _receipt(
    held: Mapping[str, Standing],
    needs: Mapping[str, Need],
    failed: Mapping[str, str],
    seen: Mapping[str, Seen],
) -> Receipt:
    done = [need for key, need in needs.items() if key not in failed and held[key].accepted]
    return Receipt(
        embedded=done.count(Need.EMBED),
        scalar=done.count(Need.SCALAR),
        unchanged=done.count(Need.UNCHANGED),
        deleted=done.count(Need.REMOVE),
        stale=done.count(Need.STALE) + sum(one.refused for one in held.values()),
        superseded=sum(max(0, one.accepted - 1) for one in held.values()),
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
