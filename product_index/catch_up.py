"""A change that comes while a new collection is built is in it when it is served.

mark         where the changes end, before the snapshot is taken
begin_at     ... or ended when the catalogue was written, if that is earlier
catch_up     what came since goes into the new collection, through the same gate
serve        catch up once more, move the alias, and hand back what slipped through

Until the alias moves nobody else writes to the new collection. Afterwards the
stream does, so nothing is written beside it: a change that a consumer had
taken for the old collection is published again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from .build_files import Place, read_text, write_text
from .encoder import Encoder
from .errors import InvalidCatalogue
from .pictures import Pictures
from .product import ProductChange
from .publish import Switch, switch
from .rebuild import Plan
from .refresh import apply_changes
from .standing import coalesce, is_news
from .vector_store import VectorDatabase, VectorStore

log = structlog.get_logger()

# As many as a consumer takes at once: a batch of the encoder.
PAGE = 64

# Clocks differ, and an export is read for a while before it is written: what came then is looked
# at once more, and the gate drops what the catalogue has already.
EXPORT_TAKES = timedelta(minutes=10)

# By partition the next offset to read.
Marks = Mapping[str, int]


class ChangeFeed(Protocol):
    """The changes that the stream carries, to be read again from any mark."""

    def mark(self) -> dict[str, int]:
        """Where it ends now."""
        ...

    def back_to(self, moment: datetime, marks: Marks) -> dict[str, int]:
        """These marks, or where the first change since then lies: what is earlier, and still kept."""
        ...

    def since(self, marks: Marks, *, size: int) -> Iterator[tuple[list[ProductChange], dict[str, int]]]:
        """Pages from the marks to the end as of this call, each with where to go on.

        Raises:
            ChangesLost: some of them are no longer kept.
        """
        ...

    def publish(self, changes: Sequence[ProductChange]) -> None:
        """Say them again; return once the log has answered."""
        ...


class InMemoryChangeFeed:
    """The twin: one partition, and nothing is ever forgotten."""

    def __init__(self) -> None:
        self.changes: list[ProductChange] = []

    def mark(self) -> dict[str, int]:
        """How many there are."""
        return {"0": len(self.changes)}

    def back_to(self, moment: datetime, marks: Marks) -> dict[str, int]:
        """By when each change happened, which here is when it was said."""
        later = (at for at, one in enumerate(self.changes) if one.occurred_at >= moment)
        return {"0": min(marks.get("0", 0), next(later, len(self.changes)))}

    def since(self, marks: Marks, *, size: int) -> Iterator[tuple[list[ProductChange], dict[str, int]]]:
        """Page by page."""
        end = len(self.changes)
        for start in range(marks.get("0", 0), end, size):
            page = self.changes[start : min(start + size, end)]
            yield page, {"0": start + len(page)}

    def publish(self, changes: Sequence[ProductChange]) -> None:
        """Append them."""
        self.changes += changes


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """How far a collection has followed the changes.

    Attributes:
        marks: where to go on.
        products: that any of the changes was about, since the first mark.
        failed: (product id, reason); the consumer sets these aside as dead letters.
    """

    marks: Marks
    products: frozenset[str] = frozenset()
    failed: tuple[tuple[str, str], ...] = ()


def begin_at(plan: Plan, marks: Marks, feed: ChangeFeed) -> CaughtUp:
    """Where to catch up from: a catalogue does not know what came after it was written."""
    return CaughtUp(marks=feed.back_to(plan.catalogue_at - EXPORT_TAKES, marks))


def catch_up(
    plan: Plan,
    caught: CaughtUp,
    feed: ChangeFeed,
    encoder: Encoder,
    store: VectorStore,
    pictures: Pictures,
    *,
    now: datetime,
) -> CaughtUp:
    """Bring what came since into the collection, and note it beside the plan. Safe to repeat.

    Raises:
        ChangesLost: the log keeps less than a rebuild takes.
        Retryable: the same call, later.
    """
    marks, products, failed, written = dict(caught.marks), set(caught.products), list(caught.failed), 0
    for page, reached in feed.since(caught.marks, size=PAGE):
        receipt = apply_changes(page, encoder, store, pictures, now=now)
        marks |= reached
        products |= {change.product_id for change in page}
        failed += receipt.failed
        written += receipt.written
    done = CaughtUp(marks=marks, products=frozenset(products), failed=tuple(failed))
    _note(plan, done)
    log.info("caught_up", collection=store.name, products=len(products), written=written, failed=len(failed))
    return done


def read_caught_up(plan: Plan) -> CaughtUp | None:
    """What `catch_up` noted last, or None."""
    try:
        said = json.loads(read_text(_note_path(plan)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidCatalogue(f"{_note_path(plan)} cannot be read: {error}; begin a new rebuild") from error
    return CaughtUp(
        marks=said["marks"], products=frozenset(said["products"]), failed=tuple(map(tuple, said["failed"]))
    )


def serve(
    plan: Plan,
    database: VectorDatabase,
    feed: ChangeFeed | None,
    encoder: Encoder,
    pictures: Pictures,
    *,
    now: datetime,
) -> Switch:
    """Move the alias so that no change is lost. Safe to repeat.

    Args:
        plan: of the collection; it has been caught up before, if there is a feed.
        database: where the alias is.
        feed: None where no stream writes to the index.
        encoder: of the collection.
        pictures: where pictures are.
        now: for what is written.
    """
    caught = None if feed is None else read_caught_up(plan)
    if feed is None or caught is None:
        return switch(database, plan.alias, plan.collection)
    store = database.open(plan.collection)
    if database.resolve(plan.alias) != plan.collection:
        caught = catch_up(plan, caught, feed, encoder, store, pictures, now=now)
    done = switch(database, plan.alias, plan.collection)
    if done.live == plan.collection:
        hand_back(feed, caught.marks, store)
    return done


def hand_back(feed: ChangeFeed, marks: Marks, store: VectorStore) -> int:
    """Publish again what came since the marks and is not in the collection; return how many."""
    handed = 0
    for page, _ in feed.since(marks, size=PAGE):
        known = store.fingerprints([change.product_id for change in page])
        missing = [change for change in coalesce(page) if is_news(change, known.get(change.product_id))]
        if missing:
            feed.publish(missing)
        handed += len(missing)
    if handed:
        log.info("handed_back", collection=store.name, changes=handed)
    return handed


def _note(plan: Plan, caught: CaughtUp) -> None:
    said = {"marks": caught.marks, "products": sorted(caught.products), "failed": caught.failed}
    write_text(_note_path(plan), json.dumps(said, ensure_ascii=False))


def _note_path(plan: Plan) -> "Place":
    return plan.folder / "caught-up.json"
