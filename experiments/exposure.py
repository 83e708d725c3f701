"""The events an experiment lives on: a unit was served; what it did next.

Records, and the role of the log that takes them; their JSON form is
`events.event_json`. Names follow OpenSearch UBI where it has them. No clock, no
chance: ids are derived, times are given.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Literal, Protocol

from .errors import InvalidEvent

QueryKind = Literal["text", "image", "both"]
OutcomeKind = Literal["click", "add_to_cart", "order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedProduct:
    """One product as it was shown.

    Attributes:
        position: from 1.
        channels: which channels found it; the host's own funnel is `base`.
        rank_per_channel: the rank, from 1, that each of them gave it.
    """

    product_id: str
    position: int
    channels: tuple[str, ...]
    rank_per_channel: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A unit was *served* a variant.

    Attributes:
        event_id: see `event_id`: the same exposure always has the same id.
        counterfactual: the product ids that the other plan would have served,
            best first; empty where it was not sampled.
        triggered: whether the served page differs from what base alone gives,
            in control whether the other plan's page would; None where that is
            not known. In control it is learnt after the answer: then the same
            exposure is logged once more, under the same id.
        reason: why this variant: `assigned`, `override`, `off`, ...
        degraded: whether a planned channel was missing from the answer.
        latency_ms: of the whole recall step.
        would_change_pool: whether a channel found what the base had not. None but for
            the searches whose other page is learnt, drawn alike in both arms: an
            analysis of triggered searches takes these.
        depth_of_first_change: the first place, from 1, where the two pages differ.
        teams, team_weights: of an interleaved page, place by place: for whom a click counts
            (`base`, `recall`, `both`, `neither`), and how much; see `credit`.
    """

    event_id: str
    experiment: str
    variant: str
    unit_id: str
    session_id: str
    query_id: str
    query: str
    query_kind: QueryKind
    occurred_at: datetime
    served: Sequence[ServedProduct]
    counterfactual: tuple[str, ...] = ()
    triggered: bool | None = None
    reason: str = "assigned"
    degraded: bool = False
    index_version: str = ""
    model_id: str = ""
    latency_ms: float = 0.0
    would_change_pool: bool | None = None
    depth_of_first_change: int | None = None
    teams: tuple[str, ...] = ()
    team_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_event(self.event_id, self.unit_id, self.occurred_at)
        if not self.experiment or not self.variant:
            raise InvalidEvent(f"exposure {self.event_id!r} names no experiment or no variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A step of a unit that is neither a page nor a deed: it was assigned, or it was triggered.

    Attributes:
        kind: `assigned`, once a session: the unit has an arm. `triggered`: its
            search is one where the arms differ, told in both arms alike.
        depth_of_first_change: of a triggered search, the first place that differs.
    """

    event_id: str
    kind: Literal["assigned", "triggered"]
    experiment: str
    phase: str
    variant: str
    unit_id: str
    session_id: str
    occurred_at: datetime
    query_id: str | None = None
    would_change_pool: bool | None = None
    would_change_page: bool | None = None
    depth_of_first_change: int | None = None

    def __post_init__(self) -> None:
        _check_event(self.event_id, self.unit_id, self.occurred_at)
        if self.kind not in ("assigned", "triggered"):
            raise InvalidEvent(
                f"mark {self.event_id!r}: kind is {self.kind!r}, must be assigned or triggered"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a unit did.

    Attributes:
        query_id: the search it came from, where it came from one.
        position: where on the page, from 1, for a click.
        revenue: in `currency`, for an order; negative for a return.
    """

    event_id: str
    kind: OutcomeKind
    unit_id: str
    occurred_at: datetime
    product_id: str
    query_id: str | None = None
    position: int | None = None
    revenue: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        _check_event(self.event_id, self.unit_id, self.occurred_at)
        if self.kind not in ("click", "add_to_cart", "order"):
            raise InvalidEvent(
                f"outcome {self.event_id!r}: kind is {self.kind!r}, must be click, add_to_cart or order"
            )
        if self.revenue is not None and not isfinite(self.revenue):
            raise InvalidEvent(f"outcome {self.event_id!r}: revenue is {self.revenue}, must be finite")


class EventLog(Protocol):
    """Takes events. Never blocks and never raises into the request: what it cannot keep it counts."""

    def exposed(self, exposure: Exposure) -> None:
        """Take an exposure."""
        ...

    def happened(self, outcome: Outcome) -> None:
        """Take an outcome."""
        ...

    def marked(self, mark: Mark) -> None:
        """Take a mark."""
        ...

    @property
    def dropped(self) -> int:
        """How many events were lost so far."""
        ...

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Deliver what is waiting, within the time."""
        ...


class InMemoryEventLog:
    """The twin: three lists."""

    def __init__(self) -> None:
        self.exposures: list[Exposure] = []
        self.outcomes: list[Outcome] = []
        self.marks: list[Mark] = []
        self.dropped = 0

    def exposed(self, exposure: Exposure) -> None:
        """Take an exposure."""
        self.exposures.append(exposure)

    def happened(self, outcome: Outcome) -> None:
        """Take an outcome."""
        self.outcomes.append(outcome)

    def marked(self, mark: Mark) -> None:
        """Take a mark."""
        self.marks.append(mark)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Nothing waits."""


def event_id(kind: str, *parts: str) -> str:
    """Name an event by what it says, so that a repeat has the same name.

    An exposure is named by experiment, phase, unit, session and query; an
    outcome by unit, kind, query and product.

    >>> event_id("exposed", "uniecs-recall", "1", "shopper-7", "s1", "q1")
    'f67d5e0698186234eabf3e48a828c418'
    """
    joined = "\x1f".join((kind, *parts))
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _check_event(event: str, unit_id: str, occurred_at: datetime) -> None:
    if not event:
        raise InvalidEvent("an event has no event_id; derive one with event_id()")
    if not isinstance(unit_id, str) or not unit_id:
        raise InvalidEvent(f"event {event!r}: unit_id is {unit_id!r}, must be a non-empty string")
    if occurred_at.tzinfo is None:
        raise InvalidEvent(f"event {event!r}: occurred_at {occurred_at} has no time zone")
