"""Flag, plan, channels under the join rule, merge, answer, exposure.

The funnel belongs to someone else: this may only ever add. Whatever happens to
a channel, to the log or in here, the host gets its own list; only what its own
base raises comes back to it. In control, the answer is the base itself.
"""

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self

from experiments.assignment import bucket
from experiments.definition import Experiment
from experiments.errors import InvalidUnit
from experiments.exposure import EventLog, Outcome
from experiments.running import load_running
from experiments.targeting import Attribute

from .breaker import Breaker
from .build import build_channels, build_event_log
from .channels import Channel
from .counterfactual import Counterfactual
from .deciding import Decider, Vendor
from .interleave import DESIGNS, NOT_MIXED, Page
from .merge import Blended, GroupOf, blend, group_before
from .panel import Panel
from .query import ChannelAnswer, ChannelRequest, Query
from .result import NO_ANSWERS, RecallResult
from .routing import Route, routes_of
from .settings import Settings, read_settings
from .switches import Off, Switches
from .tally import Tally
from .telling import Teller
from .turn import Turn, first, missing

__all__ = ["AsyncBase", "Base", "RecallPlugin", "RecallResult"]

Base = Sequence[str] | Callable[[], Sequence[str]]
AsyncBase = Sequence[str] | Awaitable[Sequence[str]] | Callable[[], Awaitable[Sequence[str]] | Sequence[str]]

# Only these units are part of the experiment; an override is served, never logged.
LOGGED = "assigned"
_NOTHING_KNOWN: Mapping[str, Attribute] = MappingProxyType({})


class RecallPlugin:
    """Adds what channels find to a host's own list, behind an experiment.

    Args:
        channels: those that are loaded; a planned one that is missing answers `off`.
        experiment: the flag; its plans are checked here.
        event_log: takes exposures, marks and outcomes.
        settings: times, limits and the switches' file.
        group_of: the product group of a product id; then a group is recalled once;
            the settings' separator without.
        vendor: decides who gets what in the experiment's stead (see `deciding`).
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
        group_of: GroupOf | None = None,
        vendor: Vendor | None = None,
        breaker: Callable[[], Breaker] = Breaker,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self._experiment = experiment
        self._routes = routes_of(experiment)
        self._grace_s = settings.grace_ms / 1000
        self._budget_s = settings.budget_ms / 1000
        self._marks_assigned = settings.log_assigned
        self._group_of = group_of or group_before(settings.group_separator)
        self._switches = Switches(settings.switches)
        self._tally = Tally()
        self._panel = Panel(
            channels, in_flight=settings.in_flight, breaker=breaker, tally=self._tally, clock=clock
        )
        self._decider = Decider(
            experiment,
            self._tally,
            override_secret=settings.override_secret.get_secret_value(),
            vendor=vendor,
        )
        self._teller = Teller(experiment, event_log, self._tally)
        other = next((route for route in self._routes.values() if route.channels), None)
        self._counterfactual = Counterfactual(
            experiment,
            self._panel,
            self._teller,
            self._tally,
            share=settings.counterfactual_share,
            channels=other.channels if other is not None else (),
            join=lambda query, own, answers: (
                None if other is None else self._joined(other, query, own, answers)
            ),
            budget_s=self._budget_s,
            clock=clock,
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._new_id = new_id

    @classmethod
    def from_settings(
        cls,
        settings: Settings | None = None,
        *,
        event_log: EventLog | None = None,
        group_of: GroupOf | None = None,
        vendor: Vendor | None = None,
    ) -> Self:
        """The plugin as the environment describes it.

        Raises:
            InvalidSettings: a variable breaks a rule, or there is nowhere to log to.
            InvalidExperiment, UnknownExperiment: from the definitions.
        """
        settings = settings or read_settings()
        experiments = load_running(settings.experiments, now=datetime.now(UTC))
        experiment = experiments[settings.experiment]
        names = {name for route in routes_of(experiment).values() for name in route.channels}
        return cls(
            build_channels(names, settings),
            experiment,
            event_log or build_event_log(settings),
            settings=settings,
            group_of=group_of,
            vendor=vendor,
        )

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
        attributes: Mapping[str, Attribute] = _NOTHING_KNOWN,
        override: str | None = None,
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
            attributes: what the experiment's targeting may ask of the request.
            override: a tester's signed token; one that does not hold changes nothing.
        """
        turn = self._begin(query, unit_id, session_id, query_id, now, attributes, override)
        try:
            own = base() if callable(base) else base
            self._stop_waiting_for_a_decision(turn)
            answers = (
                NO_ANSWERS if turn.asked is None else turn.asked.round.join(grace_s=self._grace(grace_ms))
            )
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
        attributes: Mapping[str, Attribute] = _NOTHING_KNOWN,
        override: str | None = None,
    ) -> RecallResult:
        """As `recall`; the base may be an awaitable too."""
        turn = self._begin(query, unit_id, session_id, query_id, now, attributes, override)
        try:
            given = base() if callable(base) else base
            own = await given if inspect.isawaitable(given) else given
            self._stop_waiting_for_a_decision(turn)
            answers = (
                NO_ANSWERS
                if turn.asked is None
                else await turn.asked.round.ajoin(grace_s=self._grace(grace_ms))
            )
        except BaseException:
            self._abandon(turn)
            raise
        return self._finish(turn, own, answers)

    def happened(self, outcome: Outcome) -> None:
        """Log what a unit did next. Never raises."""
        self._teller.happened(outcome)

    def counts(self) -> Mapping[str, int]:
        """What went by so far: statuses by channel, late answers, dropped hits, lost events."""
        return self._tally.read()

    def close(self) -> None:
        """Let go of channels, then of the log."""
        self._decider.close()
        self._counterfactual.close()
        self._panel.close()
        self._teller.close()

    def _begin(
        self,
        query: Query,
        unit_id: str,
        session_id: str,
        query_id: str | None,
        now: datetime | None,
        attributes: Mapping[str, Attribute],
        override: str | None,
    ) -> Turn:
        """Decide and ask. Never raises: what fails here leaves the base alone."""
        experiment, started_s = self._experiment, self._clock()
        turn = Turn(
            query, unit_id, session_id, query_id or self._new_id(), now, started_s, experiment.control
        )
        try:
            off = self._switches.read(now_s=started_s)
            if off.stops(experiment.name):
                turn.reason = "off"
                return turn
            turn.now = now or self._wall_clock()
            if self._decider.waits:
                turn.reason = "vendor_late"
                turn.pending = self._decider.later(
                    unit_id,
                    now=turn.now,
                    attributes=attributes,
                    override=override,
                    then=lambda variant, reason: self._decided(turn, variant, reason, off),
                )
            else:
                decision = self._decider.now(unit_id, now=turn.now, attributes=attributes, override=override)
                self._decided(turn, *decision, off)
        except InvalidUnit:
            turn.reason = "no_unit"
            self._tally.add("no_unit")
        except Exception as error:
            self._teller.failed("begin", error)
        return turn

    def _decided(self, turn: Turn, variant: str, reason: str, off: Off) -> None:
        """The arm is fixed, whatever its channels will answer; they are asked now."""
        turn.variant, turn.reason, turn.off = variant, reason, off.channels
        if names := self._routes[variant].channels:
            request = ChannelRequest(
                query=turn.query,
                limit=turn.query.limit,
                deadline_s=turn.started_s + self._budget_s,
                request_id=turn.query_id,
                unit_id=turn.unit_id,
            )
            turn.asked = self._panel.ask(names, request, off=off.channels)

    def _grace(self, grace_ms: float | None) -> float:
        return self._grace_s if grace_ms is None else max(0.0, grace_ms / 1000)

    def _stop_waiting_for_a_decision(self, turn: Turn) -> None:
        if turn.pending is not None:
            turn.pending.close()

    def _abandon(self, turn: Turn) -> None:
        self._stop_waiting_for_a_decision(turn)
        if turn.asked is not None:
            self._panel.abandon(turn.asked)

    def _finish(self, turn: Turn, own: Sequence[str], answers: Mapping[str, ChannelAnswer]) -> RecallResult:
        """Merge and log. Never raises: what fails here leaves the base alone."""
        route = self._routes[turn.variant]
        if route.channels:
            result = self._treated(turn, route, own, answers)
        else:
            took_ms = (self._clock() - turn.started_s) * 1000
            result = RecallResult(own, turn.variant, turn.reason, turn.query_id, latency_ms=took_ms)
        if turn.reason == LOGGED:
            self._tell(turn, result)
        return result

    def _treated(
        self, turn: Turn, route: Route, own: Sequence[str], answers: Mapping[str, ChannelAnswer]
    ) -> RecallResult:
        """The joined list, or the base where there is nothing to join."""
        limit, served, mixed = turn.query.limit, own, NOT_MIXED
        page: tuple[str, ...] = ()
        triggered, blended = None, None
        degraded = missing(route.channels, answers)
        try:
            if turn.asked is not None:
                self._panel.settle(turn.asked, answers)
            page = first(own, limit)
            whole = page if len(page) == len(own) else own  # copied once, where the page is the whole pool
            blended = self._joined(route, turn.query, whole, answers)
            if blended is not None and route.interleave is not None:
                mixed = self._interleaved(route.interleave, turn, own, blended)
                blended = blended.beginning_with(mixed.product_ids)
            served = own if blended is None else blended.product_ids
            turn.shown = first(served, limit)
            triggered = turn.shown != page
        except Exception as error:
            served, blended, mixed, degraded, turn.shown = own, None, NOT_MIXED, True, None
            self._teller.failed("finish", error)
        return RecallResult(
            served,
            turn.variant,
            turn.reason,
            turn.query_id,
            degraded,
            answers,
            (self._clock() - turn.started_s) * 1000,
            triggered,
            page,
            blended,
            mixed.teams,
            mixed.weights,
        )

    def _joined(
        self, route: Route, query: Query, own: Sequence[str], answers: Mapping[str, ChannelAnswer]
    ) -> Blended | None:
        found = {name: answer.hits for name, answer in answers.items() if answer.hits}
        if not found:
            return None
        return blend(own, found, rule=route.rule, limit=query.limit, group_of=self._group_of)

    def _interleaved(self, design: str, turn: Turn, own: Sequence[str], blended: Blended) -> Page:
        """Both rankings on one page; the coins follow from the search's id."""
        salt = f"interleave:{self._experiment.salt}"
        return DESIGNS[design](
            list(dict.fromkeys(own)),
            blended.product_ids,
            limit=turn.query.limit,
            coin=lambda number: bool(bucket(f"{turn.query_id}:{number}", salt=salt) & 1),
        )

    def _tell(self, turn: Turn, result: RecallResult) -> None:
        """Never raises: the teller counts what is lost."""
        now = turn.now or self._wall_clock()
        if self._marks_assigned:
            self._teller.assigned(turn, now=now)
        sampled = self._counterfactual.samples(turn.query_id)
        exposure = self._teller.exposed(turn, result, now=now, sampled=sampled)
        if exposure is None or not sampled:
            return
        try:
            if result.triggered is None:
                self._counterfactual.of_control(exposure, turn.query, result.product_ids, off=turn.off)
            else:
                self._teller.triggered(exposure)
        except Exception as error:
            self._teller.lost("mark", error)
