"""How a channel does, for people: loaded or why not, which index it reads, how fresh that is."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from product_index.errors import ProductIndexError
from product_index.vector_store import VectorStore

from . import Channel
from .limited import LimitedChannel

# Asked from the shortest: the first window with a write in it is how fresh the index is.
_HOUR_S = 3_600
WINDOWS_S = (1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """One channel.

    Attributes:
        state: `loaded`, or why it is not.
        in_flight, limit: questions just now, and the most it takes at the moment.
        products: in its index; -1 where it has none, or it does not answer.
        written_within_s: the newest product was written within this time; -1 where it was longer ago.
        written_last_hour: how many were.
    """

    state: str
    in_flight: int = 0
    limit: int = 0
    index_version: str = ""
    model_id: str = ""
    products: int = -1
    written_within_s: int = -1
    written_last_hour: int = -1


def state_of(channel: Channel, *, now: datetime | None = None) -> ChannelState:
    """What can be seen from outside. Asks the index; never raises for it."""
    limited = channel if isinstance(channel, LimitedChannel) else None
    inner = channel if limited is None else limited.channel
    limits = (0, 0) if limited is None else (limited.limit.in_flight, limited.limit.limit)
    serving = getattr(inner, "serving", None)
    found = None if serving is None else serving()
    store: VectorStore | None = getattr(found, "store", None)
    state = "loaded" if found is None or store is not None else str(found.reason)
    if store is None:
        return ChannelState(state=state, in_flight=limits[0], limit=limits[1])
    products = within_s = last_hour = -1
    with suppress(ProductIndexError):
        products = store.count()
        within_s, last_hour = _freshness(store, now or datetime.now(UTC))
    return ChannelState(
        state=state,
        in_flight=limits[0],
        limit=limits[1],
        index_version=store.name,
        model_id=store.spec.model_id,
        products=products,
        written_within_s=within_s,
        written_last_hour=last_hour,
    )


def _freshness(store: VectorStore, now: datetime) -> tuple[int, int]:
    last_hour = store.count(since=now - timedelta(hours=1))
    for window_s in WINDOWS_S:
        if (window_s <= _HOUR_S) is (last_hour > 0) and store.count(since=now - timedelta(seconds=window_s)):
            return window_s, last_hour
    return -1, last_hour
