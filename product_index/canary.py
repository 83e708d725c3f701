"""Is a new collection fit to serve? It is compared with what was to be in it.

The shard files are the truth, the store is the suspect: every row is there,
bit for bit; sampled vectors are embedded anew; the store's search is set
against exact search, with and without a filter, at the limit that is served.
Then it is set beside what is served now: it may not be much smaller, nor,
with the same model, give quite other lists. What changed since the snapshot
is judged as it is stored. Nothing here moves an alias.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from .embedding import check_same_space, embed_seen, look
from .encoder import Encoder
from .errors import CanaryRefused
from .pictures import Pictures
from .rebuild import Plan, finished_shards, read_plan, rows_path
from .shards import read_changes, read_rows
from .unit_vectors import is_unit
from .vector_store import Filter, ProductVector, VectorStore

log = structlog.get_logger()

# Scores this close are a tie; either product is right.
SCORE_TOLERANCE = 1e-5
# A fresh vector of the same content may differ in its last bits between machines.
SAME_VECTOR = 1e-4
_SAMPLED_AGAIN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is asked of a new collection.

    Attributes:
        min_coverage: share of the catalogue's products that must be in it.
        min_recall: share of the exact nearest that the store must find.
        max_shrink: by which share it may be smaller than what is served.
        min_overlap: share of the served lists, of what is in both, that it must give too.
        limit: as many as are asked for in service.
        queries: how many vectors are sampled as questions.
    """

    min_coverage: float = 0.95
    min_recall: float = 0.95
    max_shrink: float = 0.2
    min_overlap: float = 0.5
    limit: int = 100
    queries: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured; all of it passed."""

    collection: str
    products: int
    coverage: float
    recall: float
    recall_filtered: float
    overlap: float | None
    search_p50_ms: float
    search_p99_ms: float
    model_id: str

    def as_dict(self) -> dict[str, Any]:
        """For a log, a message between tasks, an asset's extra."""
        return asdict(self)


def check_collection(
    plan: Plan,
    store: VectorStore,
    encoder: Encoder,
    pictures: Pictures,
    *,
    chance: np.random.Generator,
    thresholds: Thresholds = Thresholds(),
    served: VectorStore | None = None,
    changed: Collection[str] = (),
) -> Verdict:
    """Check a loaded collection.

    Args:
        plan: of the rebuild that filled it.
        store: the collection.
        encoder: that will embed the queries.
        pictures: where the catalogue's pictures are.
        chance: draws the samples.
        thresholds: what is asked of it.
        served: the collection that is served now.
        changed: products that were changed after the snapshot, and caught up with.

    Raises:
        CanaryRefused: with every reason found, each after the name of its check.
        ModelMismatch: the encoder is of another space than the collection.
    """
    check_same_space(encoder, store.spec, store.name)
    embedded = [
        row
        for number in range(len(plan.shards))
        for page in read_rows(rows_path(plan, number))
        for row in page
    ]
    coverage = len(embedded) / max(plan.products, 1)
    untouched = [row for row in embedded if row.product_id not in changed]
    moved = store.get(sorted(changed))
    rows = untouched + [row for row in moved.values() if not row.fingerprint.deleted]
    reasons = _missing(plan, embedded, coverage, thresholds) + _differing(store, rows, moved)
    if not rows:
        raise _refusal(store, [*reasons, "empty: it has no products"])
    drawn = chance.choice(len(rows), size=min(thresholds.queries, len(rows)), replace=False)
    sample = [rows[index] for index in drawn]
    as_planned = [row for row in sample if row.product_id not in changed]
    reasons += _strangers(plan, as_planned[:_SAMPLED_AGAIN], encoder, pictures)
    where = _common_filter(rows)
    recall, waits = _recall(store, rows, sample, None, thresholds.limit)
    recall_filtered, _ = _recall(store, rows, sample, where, thresholds.limit)
    for name, share in (("recall", recall), (f"recall under {where}", recall_filtered)):
        if not share >= thresholds.min_recall:
            reasons.append(
                f"recall: {name}@{thresholds.limit} is {share:.3f}, at least {thresholds.min_recall} is asked"
            )
    overlap = None
    if served is not None and served.name != store.name:
        reasons += _shrunken(served, len(rows), thresholds)
        if served.spec == store.spec:
            overlap = _overlap(store, served, rows, sample, thresholds.limit)
        if overlap is not None and not overlap >= thresholds.min_overlap:
            reasons.append(
                f"overlap: it gives {overlap:.1%} of what {served.name} finds of the products in both, "
                f"at least {thresholds.min_overlap:.1%} is asked of the same model"
            )
    if reasons:
        raise _refusal(store, reasons)
    verdict = Verdict(
        collection=store.name,
        products=len(rows),
        coverage=round(coverage, 4),
        recall=round(recall, 4),
        recall_filtered=round(recall_filtered, 4),
        overlap=None if overlap is None else round(overlap, 4),
        search_p50_ms=round(float(np.percentile(waits, 50)), 2),
        search_p99_ms=round(float(np.percentile(waits, 99)), 2),
        model_id=store.spec.model_id,
    )
    log.info("canary_passed", **verdict.as_dict())
    return verdict


def _refusal(store: VectorStore, reasons: list[str]) -> CanaryRefused:
    checks = sorted({reason.partition(":")[0] for reason in reasons})
    log.error("canary_refused", collection=store.name, checks=checks, reasons=reasons)
    return CanaryRefused(store.name, reasons)


def _missing(plan: Plan, rows: Sequence[ProductVector], coverage: float, thresholds: Thresholds) -> list[str]:
    """Are as many rows embedded as the catalogue has products?"""
    reasons = []
    if read_plan(plan.path) != plan:
        reasons.append(f"plan: its plan {plan.path} was changed meanwhile")
    promised = sum(shard.rows for shard in finished_shards(plan))
    if promised != len(rows):
        reasons.append(f"shards: its shards have {len(rows)} rows, {promised} were written")
    if coverage < thresholds.min_coverage:
        failed = [failure for shard in finished_shards(plan) for failure in shard.failed]
        first = f"; first: {failed[0][0]!r}, {failed[0][1]}" if failed else ""
        reasons.append(
            f"coverage: it covers {coverage:.1%} of {plan.products} products, at least "
            f"{thresholds.min_coverage:.1%} is asked{first}"
        )
    return reasons


def _differing(
    store: VectorStore, rows: Sequence[ProductVector], moved: Mapping[str, ProductVector]
) -> list[str]:
    """Is every row stored as it was embedded or changed since, and nothing else?"""
    wanted = {row.product_id: row for row in rows}
    unknown, other_model, not_unit, changed, found = 0, 0, 0, 0, 0
    for page in store.rows():
        for row in page:
            original = wanted.get(row.product_id)
            if original is None and row.product_id in moved:
                continue  # removed since
            if original is None:
                unknown += 1
                continue
            found += 1
            stamp = (row.fingerprint.model_id, row.fingerprint.preprocess_version)
            other_model += stamp != (store.spec.model_id, store.spec.preprocess_version)
            not_unit += not is_unit(np.linalg.norm(row.vector.astype(np.float64)))
            same = row.fingerprint == original.fingerprint and np.array_equal(row.vector, original.vector)
            changed += not same
    counted = store.count()
    said = {
        f"missing: {len(wanted) - found} products are missing": found != len(wanted),
        f"strangers: {unknown} products are in it that the catalogue does not have": unknown,
        f"model: {other_model} rows are of another model": other_model,
        f"norms: {not_unit} vectors are not finite and of length 1": not_unit,
        f"rows: {changed} rows differ from what was embedded": changed,
        f"count: it counts {counted} products, {len(wanted)} were loaded": counted != len(wanted),
    }
    return [sentence for sentence, wrong in said.items() if wrong]


def _strangers(
    plan: Plan, sample: Sequence[ProductVector], encoder: Encoder, pictures: Pictures
) -> list[str]:
    """Do sampled products, embedded anew, give the vectors that are stored under their names?"""
    wanted = {row.product_id: row.vector for row in sample}
    products = [
        change.product
        for parts in plan.shards
        for part in parts
        for change in read_changes(plan.folder / part)
        if change.product is not None and change.product_id in wanted
    ]
    fresh = embed_seen([look(product, pictures, encoder) for product in products], encoder).vectors
    wrong = [
        key
        for key, vector in wanted.items()
        if key not in fresh or not float(np.max(np.abs(fresh[key] - vector))) <= SAME_VECTOR
    ]
    if not wrong:
        return []
    return [
        f"vectors: {len(wrong)} of {len(wanted)} sampled products have another's vector "
        f"(first: {sorted(wrong)[0]!r})"
    ]


def _recall(
    store: VectorStore,
    rows: Sequence[ProductVector],
    sample: Sequence[ProductVector],
    where: Filter | None,
    limit: int,
) -> tuple[float, NDArray[np.float64]]:
    """The share of the exact nearest that the store finds, and how long each question took."""
    allowed = [row for row in rows if where is None or where.allows(row)]
    matrix = np.stack([row.vector for row in allowed])
    exact: dict[str, int] = {row.product_id: place for place, row in enumerate(allowed)}
    shares, waits = [], []
    for row in sample:
        scores = matrix @ row.vector
        nearest = min(limit, len(allowed))
        worst = float(np.partition(scores, -nearest)[-nearest])
        began = time.perf_counter()
        hits = store.search(row.vector[None], limit=limit, where=where)[0]
        waits.append((time.perf_counter() - began) * 1000)
        # A hit counts by its true score, so that ties at the edge are no misses.
        right = {
            hit.product_id
            for hit in hits
            if hit.product_id in exact and scores[exact[hit.product_id]] >= worst - SCORE_TOLERANCE
        }
        shares.append(min(len(right), nearest) / nearest)
    return float(np.mean(shares)), np.array(waits)


def _shrunken(served: VectorStore, products: int, thresholds: Thresholds) -> list[str]:
    """Is it much smaller than what is served? A cut-off snapshot looks like a shop that sold out."""
    before = served.count()
    if products >= before * (1 - thresholds.max_shrink):
        return []
    return [
        f"shrink: it has {products} products, {served.name} serves {before}; it may be smaller by "
        f"{thresholds.max_shrink:.0%} at most (max_shrink, if so many were really taken out)"
    ]


def _overlap(
    store: VectorStore,
    served: VectorStore,
    rows: Sequence[ProductVector],
    sample: Sequence[ProductVector],
    limit: int,
) -> float | None:
    """The share of the served lists, of the products in both, that the new one gives; None without any."""
    in_both = served.fingerprints([row.product_id for row in rows])
    shares = []
    for row in sample:
        before = {hit.product_id for hit in served.search(row.vector[None], limit=limit)[0]} & in_both.keys()
        after = {hit.product_id for hit in store.search(row.vector[None], limit=limit)[0]}
        if before:
            shares.append(len(before & after) / len(before))
    return float(np.mean(shares)) if shares else None


def _common_filter(rows: Sequence[ProductVector]) -> Filter:
    """The filter that shoppers of this catalogue would use most: its largest category, in stock."""
    stocked = [row for row in rows if row.in_stock] or list(rows)
    names = sorted({row.category for row in stocked})
    largest = max(names, key=lambda name: sum(row.category == name for row in stocked))
    return Filter(category=largest, in_stock=stocked[0].in_stock)
