"""One request between its beginning and its answer."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import compress, count
from operator import ne

from .deciding import Pending
from .panel import Asked
from .query import ChannelAnswer, Query


class Turn:
    """What is known of a request so far. Of one request only; its steps fill it in.

    Attributes:
        now: the time of its events; None until one is needed.
        variant, reason: the arm that is served and why; fixed before any channel has answered.
        asked: the round under way; None where no channel is planned, or could be asked.
        pending: a decision that comes from elsewhere and may come late.
        off: the channels that were switched off when it began.
        shown: the page that is served; None until it is known.
    """

    __slots__ = (
        "asked",
        "now",
        "off",
        "pending",
        "query",
        "query_id",
        "reason",
        "session_id",
        "shown",
        "started_s",
        "unit_id",
        "variant",
    )

    def __init__(
        self,
        query: Query,
        unit_id: str,
        session_id: str,
        query_id: str,
        now: datetime | None,
        started_s: float,
        variant: str,
    ) -> None:
        self.query = query
        self.unit_id = unit_id
        self.session_id = session_id
        self.query_id = query_id
        self.now = now
        self.started_s = started_s
        self.variant = variant
        self.reason = "failed"
        self.asked: Asked | None = None
        self.pending: Pending | None = None
        self.off: Collection[str] = ()
        self.shown: tuple[str, ...] | None = None


def first(product_ids: Sequence[str], limit: int) -> tuple[str, ...]:
    """A page of them, copied once: the host may change its list."""
    return tuple(product_ids if len(product_ids) <= limit else product_ids[:limit])


def first_difference(one: Sequence[str], other: Sequence[str]) -> int | None:
    """The first place, from 1, where two pages differ; None if they are the same.

    >>> first_difference(["mug", "cup"], ["mug", "jug"])
    2
    """
    differing = compress(count(1), map(ne, one, other))
    return next(differing, None if len(one) == len(other) else min(len(one), len(other)) + 1)


def missing(planned: Sequence[str], answers: Mapping[str, ChannelAnswer]) -> bool:
    """Whether a planned channel's word is not there."""
    for name in planned:
        answer = answers.get(name)
        if answer is None or not answer.answered:
            return True
    return False
