"""Which collection is served: switch forward, roll back, drop what nobody needs.

Names carry the time they were begun, so "newer" is a comparison of names. The
collection that was served before is kept under a second alias,
`<alias>_previous`: a rollback knows where to go, and no clean-up can take it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from .errors import CollectionInUse, ProductIndexError, Superseded, UnknownCollection
from .vector_store import VectorDatabase

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What a switch did: `live` is served now, `before` was; `moved` tells whether they differ."""

    live: str
    before: str | None
    moved: bool
    reason: str


def collection_name(alias: str, *, now: datetime, seed: str) -> str:
    """Name a new collection by when it was begun and by what, once per build.

    >>> collection_name("products", now=datetime(2026, 11, 20, 10, tzinfo=UTC), seed="nightly")
    'products_v20261120T100000Z_2a3b62'
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{alias}_v{stamp}_{hashlib.sha256(seed.encode()).hexdigest()[:6]}"


def previous_alias(alias: str) -> str:
    """The alias of the collection that was served before."""
    return f"{alias}_previous"


def check_alias(database: VectorDatabase, alias: str) -> None:
    """Return if the name can be an alias: hours of embedding are not begun for one that cannot.

    Raises:
        CollectionInUse: a collection has that name.
    """
    if alias in database.names():
        raise CollectionInUse(
            f"{alias!r} is a collection's name, so it cannot be the alias that readers follow; set "
            "PRODUCT_ALIAS to another, or rename the collection"
        )


@contextmanager
def still_wanted(database: VectorDatabase, alias: str, collection: str) -> Iterator[None]:
    """Work on a build while none that was begun later is served; else drop it.

    The clean-up of that one may take this collection at any time: what fails then
    is no failure.

    Raises:
        Superseded: instead of doing the work, or of what the work raised.
    """
    _check_wanted(database, alias, collection)
    try:
        yield
    except ProductIndexError:
        _check_wanted(database, alias, collection)
        raise


def _check_wanted(database: VectorDatabase, alias: str, collection: str) -> None:
    live = database.resolve(alias)
    if live is not None and _begun(alias, live) > _begun(alias, collection):
        database.drop(collection)
        raise Superseded(f"{live} was begun after {collection} and is served already; nothing is left to do")


def switch(database: VectorDatabase, alias: str, collection: str) -> Switch:
    """Serve the collection, unless a newer one is served already. Safe to repeat."""
    live = database.resolve(alias)
    if live == collection:
        return Switch(
            live=live, before=database.resolve(previous_alias(alias)), moved=False, reason="already live"
        )
    if live is not None and _begun(alias, live) >= _begun(alias, collection):
        return Switch(live=live, before=live, moved=False, reason=f"{live} is newer than {collection}")
    if live is not None:
        database.switch(previous_alias(alias), live)
    database.switch(alias, collection)
    log.info("alias_switched", alias=alias, live=collection, before=live)
    return Switch(live=collection, before=live, moved=True, reason="newer than what was live")


def rollback(database: VectorDatabase, alias: str) -> Switch:
    """Serve again what was served before; a second rollback undoes the first.

    Raises:
        UnknownCollection: nothing was served before.
    """
    live, before = database.resolve(alias), database.resolve(previous_alias(alias))
    if live is None or before is None or live == before:
        raise UnknownCollection(
            f"alias {alias!r} has no earlier collection to go back to (live: {live or 'none'}); "
            "only a refresh makes a new one"
        )
    database.switch(alias, before)
    database.switch(previous_alias(alias), live)
    log.info("alias_rolled_back", alias=alias, live=before, before=live)
    return Switch(live=before, before=live, moved=True, reason="rolled back")


def old_builds(names: Iterable[str], alias: str, *, live: str) -> list[str]:
    """Of these names, those of the alias' builds that were begun before the live one. Pure."""
    return [name for name in names if "" < _begun(alias, name) < _begun(alias, live)]


def drop_old(database: VectorDatabase, alias: str) -> list[str]:
    """Drop what was begun before the live collection, but for the one served before it.

    Never what is newer than live (another build may be at work on it), never
    what an alias points to, never a name that is not of this alias' builds.
    """
    live = database.resolve(alias)
    if live is None:
        return []
    kept = {live, database.resolve(previous_alias(alias))}
    dropped = [name for name in old_builds(database.names(), alias, live=live) if name not in kept]
    for name in dropped:
        database.drop(name)
    if dropped:
        log.info("collections_dropped", alias=alias, dropped=dropped)
    return dropped


def _begun(alias: str, name: str) -> str:
    """The part of a name that says when its build began; "" for a name of another kind."""
    found = re.fullmatch(rf"{re.escape(alias)}_v(\d{{8}}T\d{{6}}Z_[0-9a-f]{{6}})", name)
    return found.group(1) if found else ""
