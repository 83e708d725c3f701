"""Set the index beside a snapshot of the catalogue, and say what would mend it.

Nothing is written here. Findings become changes for the stream, so that each
product keeps its one writer, and the gate judges them like any other: what the
stream has learnt since the snapshot wins.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from .catalog import PAGE_SIZE, Catalogue, Report
from .content import scalar_hash, text_hash, text_seen
from .errors import InvalidCatalogue
from .product import ProductChange
from .standing import is_news
from .vector_store import CollectionSpec, Fingerprint, VectorStore

log = structlog.get_logger()

# More than this share of the index gone at once is a broken export until a person says otherwise.
MAX_ORPHANS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What differs, as changes that would mend it, by kind.

    Attributes:
        missing: in the catalogue, not in the index.
        stale: an older version is in the index.
        differing: the same version with another text, price, ...: what was stored is not what was said.
        other_model: embedded by another model than the collection's.
        orphans: removals of what the catalogue does not have.
        held_back: orphans that are not to be removed; `why` says why.
    """

    products: int = 0
    missing: tuple[ProductChange, ...] = ()
    stale: tuple[ProductChange, ...] = ()
    differing: tuple[ProductChange, ...] = ()
    other_model: tuple[ProductChange, ...] = ()
    orphans: tuple[ProductChange, ...] = ()
    held_back: int = 0
    why: str = ""

    @property
    def changes(self) -> list[ProductChange]:
        """All that is to be published."""
        return [*self.missing, *self.stale, *self.differing, *self.other_model, *self.orphans]

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        kinds = ("missing", "stale", "differing", "other_model", "orphans")
        return {"products": self.products, "held_back": self.held_back} | {
            kind: len(getattr(self, kind)) for kind in kinds
        }


@dataclass(slots=True, kw_only=True)
class _Found:
    missing: list[ProductChange] = field(default_factory=list)
    stale: list[ProductChange] = field(default_factory=list)
    differing: list[ProductChange] = field(default_factory=list)
    other_model: list[ProductChange] = field(default_factory=list)


def reconcile(catalogue: Catalogue, store: VectorStore, *, max_orphans: float = MAX_ORPHANS) -> Findings:
    """Compare every product with its row, and every row with the catalogue.

    Raises:
        InvalidCatalogue: it has no usable row, or changed while it was read.
    """
    report = Report()
    found, seen = _Found(), set[str]()
    for page in catalogue.pages(PAGE_SIZE, report=report):
        known = store.fingerprints([change.product_id for change in page])
        compare(page, known, store.spec, found, taken_at=catalogue.changed_at)
        seen |= {change.product_id for change in page}
    rows = {row.product_id: row.fingerprint for held in store.rows() for row in held}
    if not catalogue.source.unchanged():
        raise InvalidCatalogue(f"{catalogue.name} was written while it was read; run this again")
    orphans = list(removals(rows, seen, taken_at=catalogue.changed_at))
    why = held_back_because(
        orphans=len(orphans), rows=len(rows), bad_rows=report.bad, max_orphans=max_orphans
    )
    findings = Findings(
        products=len(seen),
        missing=tuple(found.missing),
        stale=tuple(found.stale),
        differing=tuple(found.differing),
        other_model=tuple(found.other_model),
        orphans=() if why else tuple(orphans),
        held_back=len(orphans) if why else 0,
        why=why,
    )
    log.info("reconciled", collection=store.name, why=why, **findings.counts())
    return findings


def compare(
    page: Iterable[ProductChange],
    known: Mapping[str, Fingerprint],
    spec: CollectionSpec,
    found: _Found,
    *,
    taken_at: datetime,
) -> None:
    """Sort the changes of a page into what is wrong with them; pure but for `found`."""
    for change in page:
        held = known.get(change.product_id)
        if held is None:
            found.missing.append(change)
            continue
        at = (held.version, held.occurred_at_ms)
        if at < (change.version or 0, change.occurred_at_ms):
            (found.missing if held.deleted else found.stale).append(change)
            continue
        if held.deleted or held.version != change.version or change.product is None:
            continue  # the stream knows better
        # Said again under the same version, it is news only if it is later.
        again = replace(change, occurred_at=max(taken_at, change.occurred_at + timedelta(milliseconds=1)))
        if not is_news(again, held):
            continue
        if (held.model_id, held.preprocess_version) != (spec.model_id, spec.preprocess_version):
            found.other_model.append(again)
        elif at == (change.version, change.occurred_at_ms) and _differs(change, held):
            found.differing.append(again)


def removals(
    rows: Mapping[str, Fingerprint], seen: Iterable[str], *, taken_at: datetime
) -> Iterator[ProductChange]:
    """Removals of the rows that a snapshot does not have, each of the version that is stored.

    A product that was made or changed after the snapshot is none of them; nor is
    one that changes until the removal arrives, for the gate drops that.
    """
    wanted, taken_at_ms = set(seen), int(taken_at.timestamp() * 1000)
    for key, held in sorted(rows.items()):
        if key not in wanted and not held.deleted and held.occurred_at_ms < taken_at_ms:
            yield ProductChange(product_id=key, version=held.version, occurred_at=taken_at, product=None)


def held_back_because(*, orphans: int, rows: int, bad_rows: int, max_orphans: float) -> str:
    """Why removals must wait for a person; "" if they need not. Pure."""
    if not orphans:
        return ""
    if bad_rows:
        return (
            f"{bad_rows} rows of the catalogue are bad, so it is not known what is missing from it; mend them"
        )
    if orphans > rows * max_orphans:
        return (
            f"{orphans} of {rows} products would be removed, at most {max_orphans:.0%} may be; if the "
            "catalogue is right, raise max_orphans for this run"
        )
    return ""


def _differs(change: ProductChange, held: Fingerprint) -> bool:
    assert change.product is not None  # noqa: S101 - the caller has looked
    said = (text_hash(text_seen(change.product)), scalar_hash(change.product))
    return said != (held.text_hash, held.scalar_hash)
