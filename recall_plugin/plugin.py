"""Flag, plan, channels under the join rule, merge, answer, exposure.

The funnel belongs to someone else: this may only ever add. Whatever happens to
a channel, to the log or in here, the host gets its own list; only what its own
base raises comes back to it. In control, the answer is the base itself.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self
from uuid import uuid4

import structlog

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.errors import InvalidUnit
from experiments.exposure import EventLog, Exposure, Outcome, ServedProduct, event_id

from .breaker import Breaker
from .build import build_channels, build_event_log
from .channels import Channel
from .merge import blend
from .panel import Asked, Panel
from .query import BASE, ChannelAnswer, ChannelRequest, Query, RecalledItem
from .routing import routes_of
from .settings import Settings, read_settings
from .switches import Switches
from .tally import Tally

log = structlog.get_logger(__name__)

Base = Sequence[str] | Callable[[], Sequence[str]]
AsyncBase = Sequence[str] | Awaitable[Sequence[str]] | Callable[[], Awaitable[Sequence[str]] | Sequence[str]]

# Only these units are part of the experiment; an override is served, never logged.
LOGGED = "assigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallResult:
    """The answer, and how it came about.

    Attributes:
        product_ids: best first. In control, and wherever nothing was recalled,
            the very object that the base gave.
        variant: what the unit was served.
        reason: why: `assigned`, `off`, `not_in_traffic`, ...
        degraded: a planned channel's answer is missing.
        channels: what each planned channel answered; empty in control.
        latency_ms: of the whole step, the base included.
        triggered: whether the page differs from the base's; None in control.
        counterfactual: the page that base alone would have given; empty in control.
    """

    product_ids: Sequence[str]
    variant: str
    reason: str
    query_id: str
    degraded: bool = False
    channels: Mapping[str, ChannelAnswer] = field(default_factory=dict)
    latency_ms: float = 0.0
    triggered: bool | None = None
    counterfactual: tuple[str, ...] = ()
    blended: tuple[RecalledItem, ...] | None = field(default=None, repr=False)

    @property
    def items(self) -> tuple[RecalledItem, ...]:
        """The same products, each with who found it and at which rank."""
        if self.blended is not None:
            return self.blended
        return tuple(
            RecalledItem(product_id=product_id, ranks={BASE: rank})
            for rank, product_id in enumerate(self.product_ids, start=1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One request between its beginning and its answer."""

    query: Query
    unit_id: str
    session_id: str
    query_id: str
    now: datetime
    started_s: float
    variant: str
    reason: str
    asked: Asked | None


class RecallPlugin:
    """Adds what channels find to a host's own list, behind an experiment.

    Args:
        channels: those that are loaded; a planned one that is missing answers `off`.
        experiment: the flag; its plans are checked here.
        event_log: takes exposures and outcomes.
        settings: times, limits and the switches' file.
        clock: monotonic seconds.
        wall_clock: the time of events.
        new_id: names a query that the host did not name.

    Raises:
        InvalidPlan: a variant's plan cannot run.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        experiment: Experiment,
        event_log: EventLog,
        *,
        settings: Settings,
        breaker: Callable[[], Breaker] = Breaker,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._experiment = experiment
        self._routes = routes_of(experiment)
        self._log = event_log
        self._grace_s = settings.grace_ms / 1000
        self._budget_s = settings.budget_ms / 1000
        self._switches = Switches(settings.switches)
        self._tally = Tally()
        self._panel = Panel(
            channels, in_flight=settings.in_flight, breaker=breaker, tally=self._tally, clock=clock
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._new_id = new_id

    @classmethod
    def from_settings(cls, settings: Settings | None = None, *, event_log: EventLog | None = None) -> Self:
        """The plugin as the environment describes it.

        Raises:
            InvalidSettings: a variable breaks a rule, or there is nowhere to log to.
            InvalidExperiment, UnknownExperiment: from the definitions.
        """
        settings = settings or read_settings()
        experiment = load_experiments(settings.experiments)[settings.experiment]
        names = {name for route in routes_of(experiment).values() for name in route.channels}
        log_to = event_log or build_event_log(settings)
        return cls(build_channels(names, settings), experiment, log_to, settings=settings)

    def recall(
        self,
        query: Query,
        base: Base,
        *,
        unit_id: str,
        session_id: str,
        query_id: str | None = None,
        now: datetime | None = None,
        grace_ms: float | None = None,
    ) -> RecallResult:
        """The base, with what the unit's variant adds.

        Args:
            query: what the shopper asks.
            base: the host's ranked product ids, or the call that computes them
                while the channels look. What it raises is raised here.
            unit_id: who is randomised; without one the base is the answer.
            session_id: the visit; an exposure counts once per visit and query.
            query_id: the host's name for this search, for its outcomes.
            now: the time of the event.
            grace_ms: how long this request may wait for channels once the base
                is ready; the settings' without.
        """
        turn = self._begin(query, unit_id=unit_id, session_id=session_id, query_id=query_id, now=now)
        try:
            own = base() if callable(base) else base
            answers = {} if turn.asked is None else turn.asked.round.join(grace_s=self._grace(grace_ms))
        except BaseException:
            self._abandon(turn)
            raise
        return self._finish(turn, own, answers)

    async def arecall(
        self,
        query: Query,
        base: AsyncBase,
        *,
        unit_id: str,
        session_id: str,
        query_id: str | None = None,
        now: datetime | None = None,
        grace_ms: float | None = None,
    ) -> RecallResult:
        """As `recall`; the base may be an awaitable too."""
        turn = self._begin(query, unit_id=unit_id, session_id=session_id, query_id=query_id, now=now)
        try:
            given = base() if callable(base) else base
            own = await given if inspect.isawaitable(given) else given
            answers = (
                {} if turn.asked is None else await turn.asked.round.ajoin(grace_s=self._grace(grace_ms))
            )
        except BaseException:
            self._abandon(turn)
            raise
        return self._finish(turn, own, answers)

    def happened(self, outcome: Outcome) -> None:
        """Log what a unit did next. Never raises."""
        try:
            self._log.happened(outcome)
        except Exception as error:
            self._lost("outcome", error)

    def counts(self) -> Mapping[str, int]:
        """What went by so far: statuses by channel, late answers, dropped hits, lost events."""
        return self._tally.read()

    def close(self) -> None:
        """Let go of channels, then of the log."""
        self._panel.close()
        self._log.close()

    def _begin(
        self, query: Query, *, unit_id: str, session_id: str, query_id: str | None, now: datetime | None
    ) -> _Turn:
        """Decide and ask. Never raises: what fails here leaves the base alone."""
        started_s = self._clock()
        now = now or self._wall_clock()
        query_id = query_id or self._new_id()
        variant, reason, asked = self._experiment.control, "failed", None
        try:
            off = self._switches.read(now_s=started_s)
            enabled = not off.stops(self._experiment.name)
            decision = assign(self._experiment, unit_id, now=now, enabled=enabled)
            variant, reason = decision.variant, decision.reason
            if names := self._routes[variant].channels:
                request = ChannelRequest(
                    query=query,
                    limit=query.limit,
                    deadline_s=started_s + self._budget_s,
                    request_id=query_id,
                    unit_id=unit_id,
                )
                asked = self._panel.ask(names, request, off=off.channels)
        except InvalidUnit:
            reason = "no_unit"
            self._tally.add("no_unit")
        except Exception as error:
            self._failed("begin", error)
        return _Turn(
            query=query,
            unit_id=unit_id,
            session_id=session_id,
            query_id=query_id,
            now=now,
            started_s=started_s,
            variant=variant,
            reason=reason,
            asked=asked,
        )

    def _grace(self, grace_ms: float | None) -> float:
        return self._grace_s if grace_ms is None else max(0.0, grace_ms / 1000)

    def _abandon(self, turn: _Turn) -> None:
        if turn.asked is not None:
            self._panel.abandon(turn.asked)

    def _finish(self, turn: _Turn, own: Sequence[str], answers: Mapping[str, ChannelAnswer]) -> RecallResult:
        """Merge and log. Never raises: what fails here leaves the base alone."""
        limit = turn.query.limit
        planned = self._routes[turn.variant].channels
        degraded = any(name not in answers or not answers[name].answered for name in planned)
        served, page = own, tuple[str, ...]()
        blended: tuple[RecalledItem, ...] | None = None
        triggered: bool | None = None
        try:
            if turn.asked is not None:
                self._panel.settle(turn.asked, answers)
            if planned:
                page = tuple(own[:limit])
                blended = self._blend(turn, own, answers)
                served = own if blended is None else tuple(item.product_id for item in blended)
                triggered = tuple(served[:limit]) != page
        except Exception as error:
            served, blended, degraded = own, None, True
            self._failed("finish", error)
        result = RecallResult(
            product_ids=served,
            variant=turn.variant,
            reason=turn.reason,
            query_id=turn.query_id,
            degraded=degraded,
            channels=answers,
            latency_ms=(self._clock() - turn.started_s) * 1000,
            triggered=triggered,
            counterfactual=page,
            blended=blended,
        )
        if turn.reason == LOGGED:
            self._expose(turn, result)
        return result

    def _blend(
        self, turn: _Turn, own: Sequence[str], answers: Mapping[str, ChannelAnswer]
    ) -> tuple[RecalledItem, ...] | None:
        """The joined list, or None where there is nothing to join."""
        found = {name: answer.hits for name, answer in answers.items() if answer.hits}
        if not found:
            return None
        return tuple(blend(own, found, rule=self._routes[turn.variant].rule, limit=turn.query.limit))

    def _expose(self, turn: _Turn, result: RecallResult) -> None:
        """Log what was served, as it was served. Never raises."""
        try:
            experiment = self._experiment
            spoke = next((answer for answer in result.channels.values() if answer.answered), None)
            exposure = Exposure(
                event_id=event_id(
                    "exposed", experiment.name, experiment.phase, turn.unit_id, turn.session_id, turn.query_id
                ),
                experiment=experiment.name,
                variant=result.variant,
                unit_id=turn.unit_id,
                session_id=turn.session_id,
                query_id=turn.query_id,
                query=turn.query.for_the_log,
                query_kind=turn.query.kind,
                occurred_at=turn.now,
                served=_served(result, limit=turn.query.limit),
                counterfactual=result.counterfactual,
                triggered=result.triggered,
                reason=result.reason,
                degraded=result.degraded,
                index_version=spoke.index_version if spoke else "",
                model_id=spoke.model_id if spoke else "",
                latency_ms=round(result.latency_ms, 3),
            )
            self._log.exposed(exposure)
        except Exception as error:
            self._lost("exposure", error)

    def _failed(self, step: str, error: Exception) -> None:
        self._tally.add(f"failed.{step}")
        with suppress(Exception):  # a closed stdout must not cost an answer
            log.error("recall_failed", step=step, error=repr(error), effect="the base was served")

    def _lost(self, event: str, error: Exception) -> None:
        self._tally.add(f"lost.{event}")
        with suppress(Exception):
            log.error("event_lost", event_kind=event, error=repr(error))


def _served(result: RecallResult, *, limit: int) -> tuple[ServedProduct, ...]:
    """The page as it was shown."""
    if result.blended is None:
        return tuple(
            ServedProduct(
                product_id=product_id, position=position, channels=(BASE,), rank_per_channel={BASE: position}
            )
            for position, product_id in enumerate(result.product_ids[:limit], start=1)
        )
    return tuple(
        ServedProduct(
            product_id=item.product_id, position=position, channels=item.channels, rank_per_channel=item.ranks
        )
        for position, item in enumerate(result.blended[:limit], start=1)
    )
