"""What a channel says, reduced to what can be believed.

Pure. A channel is someone else's code: it may answer with anything. Whatever
is not a hit, has no sound id or score, comes twice, breaks the filter or goes
beyond the limit is dropped and counted; the rest is used in the channel's order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import get_args

from product_index.errors import InvalidProduct
from product_index.product import MAX_PRODUCT_ID_BYTES, check_product_id
from product_index.vector_store import Filter, Hit

from .query import ChannelAnswer, ChannelRequest, Status

# Behind this many hits nobody looks for sound ones: an endless answer must end.
READ_AT_MOST_TIMES_LIMIT = 4
# A character of Unicode has no more than this many in UTF-8.
UTF8_BYTES_AT_MOST = 4

_STATUSES = frozenset(get_args(Status))


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
    elif _all_sound(answer.hits, request):
        hits = answer.hits
    else:
        hits = tuple(_sound_hits(answer.hits, request, dropped))
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


def _all_sound(hits: object, request: ChannelRequest) -> bool:
    """Whether there is nothing to drop: asked of all hits together, which is a tenth of asking each.

    An honest channel's answer ends here. Where it says no, each hit is asked.
    """
    if not isinstance(hits, tuple) or len(hits) > request.limit:
        return False
    filters = request.query.filters
    try:
        if not set(map(type, hits)) <= {Hit}:
            return False
        ids = [hit.product_id for hit in hits]
        return (
            len(set(ids)) == len(ids)
            and all(map(str.strip, ids))
            and "".join(ids).isprintable()
            and max(map(len, ids), default=0) <= MAX_PRODUCT_ID_BYTES // UTF8_BYTES_AT_MOST
            and all(isfinite(hit.score) for hit in hits)
            and (filters is None or all(map(filters.allows, hits)))
        )
    except Exception:  # someone else's objects: asked one by one, each fault is counted
        return False


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
