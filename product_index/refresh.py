"""Ask, decide, act: which changes need what, and doing it.

One function for a page of a snapshot and for a batch of a stream. Safe to
repeat: rows are keyed by product and guarded by (version, occurred_at). It
assumes one writer per product at a time; the store is asked strongly.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice

import numpy as np

from .embedding import Seen, check_same_space, look_and_embed
from .encoder import Encoder
from .index_rows import new_row, tombstone
from .needs import Need, decide, removals
from .pictures import Pictures
from .product import ProductChange
from .receipt import Receipt, joined, receipt_of
from .standing import fold
from .vector_store import Fingerprint, ProductVector, VectorStore
from .write_behind import WriteBehind

# So many products are asked for, decided and written at a time: while one page is embedded, the next
# are asked for and the one before is written. A store that writes whole rows only is a server, and each
# question to it waits for its clock to tick: what one waits for, the others do, too.
PAGE_PRODUCTS, PAGE_WHOLE_ROWS = 256, 512
ASKED_AT_ONCE = 4
# Stands for the vector where a row is amended: the store keeps its own.
_AS_STORED = np.zeros(0, dtype=np.float32)


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

    needs = dict.fromkeys(held, Need.STALE) | removals(latest, known, store.spec)

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
            rows.append(tombstone(change, whole.get(key), held[key].version, store.spec, now))
        elif needs[key] is Need.EMBED:
            rows.append(new_row(change, seen[key], embedded.vectors[key], spec=store.spec, now=now))
        elif key in whole:
            rows.append(new_row(change, seen[key], whole[key].vector, spec=store.spec, now=now))
        else:
            amended.append(new_row(change, seen[key], _AS_STORED, spec=store.spec, now=now))
    writes: list[Callable[[], None]] = [partial(store.upsert, rows)] if rows else []
    if amended:
        writes.append(partial(store.amend, amended))
    return receipt_of(held, needs, known=known, seen=seen, failed=failed), writes


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
