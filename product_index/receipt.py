"""What became of the changes of a page or a batch. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .embedding import Seen
from .needs import Need
from .standing import Standing
from .vector_store import Fingerprint


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


def receipt_of(
    held: Mapping[str, Standing],
    needs: Mapping[str, Need],
    *,
    known: Mapping[str, Fingerprint],
    seen: Mapping[str, Seen],
    failed: Mapping[str, str],
) -> Receipt:
    """Count what was done.

    Args:
        held: where each product stands after the changes.
        needs: what its latest change asked.
        known: what was stored of it.
        seen: what the encoder saw of it.
        failed: why it could not be embedded.
    """
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
        outcomes={
            key: "failed" if key in failed else _outcome(need, known.get(key), seen.get(key))
            for key, need in needs.items()
        },
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


def _outcome(need: Need, known: Fingerprint | None, seen: Seen | None) -> str:
    if need is Need.REMOVE:
        return "delete"
    if need is not Need.EMBED:
        return need.value
    if known is None or known.deleted or seen is None:
        return "new"
    return "text" if known.image_digest == seen.image_digest else "picture"
