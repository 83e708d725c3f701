"""Which change of a product follows which, stored or in the middle of a batch. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .content import MISSING
from .product import ProductChange
from .vector_store import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a product stands in time, stored or in the middle of a batch.

    Attributes:
        blank: a removal of what was never seen: it fences by time alone.
        awaited: stored without a picture it should have.
        change: that brought it here; None for what is stored.
        accepted, refused: how many changes of this call were news, and were not.
    """

    version: int
    occurred_at_ms: int
    deleted: bool
    blank: bool
    awaited: bool = False
    change: ProductChange | None = None
    accepted: int = 0
    refused: int = 0


def fold(changes: Sequence[ProductChange], known: Mapping[str, Fingerprint]) -> dict[str, Standing]:
    """Where each product stands after these changes, as if they had come one by one."""
    standings: dict[str, Standing] = {}
    for change in changes:
        key = change.product_id
        held = standings.get(key) or (standing_of(known[key]) if key in known else None)
        if held is not None and not follows(change, held):
            standings[key] = replace(held, refused=held.refused + 1)
            continue
        followed = 0 if held is None else held.version
        standings[key] = Standing(
            version=followed if change.version is None else change.version,
            occurred_at_ms=change.occurred_at_ms,
            deleted=change.is_removal,
            blank=change.version is None and (held is None or held.blank),
            change=change,
            accepted=1 + (held.accepted if held else 0),
            refused=held.refused if held else 0,
        )
    return standings


def coalesce(changes: Sequence[ProductChange]) -> list[ProductChange]:
    """Keep the latest change per product; among equals the later in the sequence."""
    if len({change.product_id for change in changes}) == len(changes):
        return list(changes)
    held = fold(changes, {}).values()
    return [one.change for one in held if one.change is not None]


def is_news(change: ProductChange, known: Fingerprint | None) -> bool:
    """Whether the change is newer than what is stored, or may bring a picture that was missing."""
    return known is None or follows(change, standing_of(known))


def follows(change: ProductChange, held: Standing) -> bool:
    """Whether the change is newer, or of the same version and may bring a picture that was missing."""
    if change.version is None:
        return change.occurred_at_ms >= held.occurred_at_ms and not held.deleted
    if held.blank:
        return change.occurred_at_ms >= held.occurred_at_ms
    ours, theirs = (change.version, change.occurred_at_ms), (held.version, held.occurred_at_ms)
    if ours == theirs:
        return held.change is not None or (held.awaited and not held.deleted and not change.is_removal)
    return ours > theirs


def standing_of(known: Fingerprint) -> Standing:
    """Where a stored row stands."""
    return Standing(
        version=known.version,
        occurred_at_ms=known.occurred_at_ms,
        deleted=known.deleted,
        blank=known.deleted and known.version == 0 and not known.text_hash,
        awaited=known.image_digest.startswith(MISSING),
    )
