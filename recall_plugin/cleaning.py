"""What a channel says, reduced to what can be believed.

Pure. A channel is someone else's code: it may answer with anything. Whatever
is not a hit, has no sound id or score, comes twice, breaks the filter or goes
beyond the limit is dropped and counted; the rest is used in the channel's order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Self, get_args

from product_index.errors import InvalidProduct
from product_index.product import MAX_PRODUCT_ID_BYTES, check_product_id
from product_index.vector_store import Filter, Hit

from .query import ChannelAnswer, ChannelRequest, Status

# Behind this many hits nobody looks for sound ones: an endless answer must end.
READ_AT_MOST_TIMES_LIMIT = 4
# A character of Unicode has no more than this many in UTF-8.
UTF8_BYTES_AT_MOST = 4

_STATUSES = frozenset(get_args(Status))


class SoundHits(tuple[Hit, ...]):
    """Hits that can be believed, with their ids: a merge reads nothing else of 500 products.

    The ids are listed here, beside the base, so that no shopper waits for it.
    """

    product_ids: list[str]

    def __new__(cls, hits: Iterable[Hit], product_ids: list[str]) -> Self:
        """Of hits that were looked through, and their ids in the same order."""
        made = super().__new__(cls, hits)
        made.product_ids = product_ids
        return made


def clean(answer: object, request: ChannelRequest) -> tuple[ChannelAnswer, Mapping[str, int]]:
    """The answer as far as it can be believed, and how many hits were dropped, by reason."""
    if not isinstance(answer, ChannelAnswer):
        kind = type(answer).__name__
        return ChannelAnswer(status="error", reason=f"answered with a {kind}, must be a ChannelAnswer"), {}
    if answer.status not in _STATUSES:
        return ChannelAnswer(status="error", reason=f"status is {answer.status!r:.40}"), {}
    dropped: Counter[str] = Counter()
    if not answer.answered:
        hits: tuple[Hit, ...] = ()
    elif (ids := _ids_if_all_sound(answer.hits, request)) is not None:
        hits = SoundHits(answer.hits, ids)
    else:
        sound = tuple(_sound_hits(answer.hits, request, dropped))
        hits = SoundHits(sound, [hit.product_id for hit in sound])
    return (
        ChannelAnswer(
            status=answer.status,
            hits=hits,
            index_version=str(answer.index_version),
            model_id=str(answer.model_id),
            reason=str(answer.reason),
        ),
        dropped,
    )


def ids_of(hits: Sequence[Hit]) -> list[str]:
    """Their product ids, best first."""
    return hits.product_ids if isinstance(hits, SoundHits) else [hit.product_id for hit in hits]


def _ids_if_all_sound(hits: object, request: ChannelRequest) -> list[str] | None:
    """The ids if there is nothing to drop: asked of all hits together, which is a tenth of asking each.

    An honest channel's answer ends here. Where it says None, each hit is asked.
    """
    if not isinstance(hits, tuple) or len(hits) > request.limit:
        return None
    filters = request.query.filters
    try:
        if not set(map(type, hits)) <= {Hit}:
            return None
        ids = [hit.product_id for hit in hits]
        sound = (
            len(set(ids)) == len(ids)
            and all(map(str.strip, ids))
            and "".join(ids).isprintable()
            and max(map(len, ids), default=0) <= MAX_PRODUCT_ID_BYTES // UTF8_BYTES_AT_MOST
            and all(isfinite(hit.score) for hit in hits)
            and (filters is None or all(map(filters.allows, hits)))
        )
    except Exception:  # someone else's objects: asked one by one, each fault is counted
        return None
    return ids if sound else None


def _sound_hits(hits: Iterable[object], request: ChannelRequest, dropped: Counter[str]) -> Iterator[Hit]:
    seen: set[str] = set()
    for place, hit in enumerate(hits):
        if len(seen) == request.limit or place == request.limit * READ_AT_MOST_TIMES_LIMIT:
            dropped["too_many"] += len(hits) - place if isinstance(hits, tuple | list) else 1
            return
        fault = "not_a_hit" if not isinstance(hit, Hit) else _fault(hit, request.query.filters)
        if fault is None and isinstance(hit, Hit) and hit.product_id in seen:
            fault = "duplicate"
        if fault is None and isinstance(hit, Hit):
            seen.add(hit.product_id)
            yield hit
        elif fault is not None:
            dropped[fault] += 1


def _fault(hit: Hit, filters: Filter | None) -> str | None:
    try:
        check_product_id(hit.product_id)
        if not isfinite(hit.score):
            return "score_not_finite"
        if filters is not None and not filters.allows(hit):
            return "not_allowed"
    except InvalidProduct:
        return "bad_id"
    except (TypeError, ValueError):
        return "bad_field"
    return None
