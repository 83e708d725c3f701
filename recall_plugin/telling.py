"""What is told of a request: exposure, marks, outcomes. Never raises: a log that fails is counted.

Told while a shopper waits, so as little as can be: the page is written out
when the log encodes it.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from operator import attrgetter

import structlog

from experiments.definition import Experiment
from experiments.exposure import EventLog, Exposure, Mark, Outcome, event_id

from .result import RecallResult, ServedPage
from .tally import Tally
from .turn import Turn, first_difference

log = structlog.get_logger(__name__)

_ANSWERED = attrgetter("answered")


class Teller:
    """Tells the event log about one experiment's requests."""

    def __init__(self, experiment: Experiment, event_log: EventLog, tally: Tally) -> None:
        self._experiment = experiment
        self._log = event_log
        self._tally = tally

    def exposed(
        self, turn: Turn, result: RecallResult, *, now: datetime, sampled: bool = False
    ) -> Exposure | None:
        """A unit was served this; the exposure, or None if it is lost.

        Args:
            turn: the request.
            result: what is returned to the host.
            now: the time of the event.
            sampled: the other arm's page is learnt, too: then the exposure also says whether
                the pool would change, in both arms, so that an analysis can choose both alike.
        """
        try:
            exposure = self._exposure(turn, result, now)
            if sampled and result.triggered is not None:
                found = result.blended is not None and result.blended.adds_to_the_pool
                exposure = replace(exposure, would_change_pool=found)
            self._log.exposed(exposure)
        except Exception as error:
            self.lost("exposure", error)
            return None
        return exposure

    def learnt(self, exposure: Exposure, other_page: tuple[str, ...], *, would_change_pool: bool) -> None:
        """The page that control was not served is known, too: its exposure is told once more, under its id.

        Args:
            exposure: as it was told.
            other_page: that treatment would have been served.
            would_change_pool: whether a channel found what the base had not.
        """
        try:
            page = [product.product_id for product in exposure.served]
            depth = first_difference(page, other_page)
            knowing = replace(
                exposure,
                counterfactual=other_page,
                triggered=depth is not None,
                would_change_pool=would_change_pool,
                depth_of_first_change=depth,
            )
            self._log.exposed(knowing)
        except Exception as error:
            self.lost("exposure", error)
            return
        self.triggered(knowing)

    def triggered(self, exposure: Exposure) -> None:
        """Mark a sampled search where the arms differ; told in both arms alike."""
        if not (exposure.triggered or exposure.would_change_pool):
            return
        try:
            self._log.marked(self._mark(exposure))
        except Exception as error:
            self.lost("mark", error)

    def assigned(self, turn: Turn, *, now: datetime) -> None:
        """The unit has an arm; once a session."""
        try:
            experiment = self._experiment
            named = (experiment.name, experiment.phase, turn.unit_id, turn.session_id)
            mark = Mark(
                event_id=event_id("assigned", *named),
                kind="assigned",
                experiment=experiment.name,
                phase=experiment.phase,
                variant=turn.variant,
                unit_id=turn.unit_id,
                session_id=turn.session_id,
                occurred_at=now,
            )
            self._log.marked(mark)
        except Exception as error:
            self.lost("mark", error)

    def happened(self, outcome: Outcome) -> None:
        """A unit did something."""
        try:
            self._log.happened(outcome)
        except Exception as error:
            self.lost("outcome", error)

    def failed(self, step: str, error: Exception) -> None:
        """A step of ours did: the base is served."""
        self._tally.add(f"failed.{step}")
        with suppress(Exception):  # a closed stdout must not cost an answer
            log.error("recall_failed", step=step, error=repr(error), effect="the base was served")

    def lost(self, event: str, error: Exception) -> None:
        """An event could not be told."""
        self._tally.add(f"lost.{event}")
        with suppress(Exception):
            log.error("event_lost", event_kind=event, error=repr(error))

    def close(self) -> None:
        """Let the log deliver what is waiting."""
        self._log.close()

    def _exposure(self, turn: Turn, result: RecallResult, now: datetime) -> Exposure:
        experiment = self._experiment
        spoke = next(filter(_ANSWERED, result.channels.values()), None)
        page = turn.shown if turn.shown is not None else tuple(result.product_ids[: turn.query.limit])
        return Exposure(
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
            occurred_at=now,
            served=ServedPage(page, result.blended.provenance if result.blended is not None else None),
            counterfactual=result.counterfactual,
            triggered=result.triggered,
            reason=result.reason,
            degraded=result.degraded,
            index_version=spoke.index_version if spoke else "",
            model_id=spoke.model_id if spoke else "",
            latency_ms=round(result.latency_ms, 3),
            depth_of_first_change=first_difference(page, result.counterfactual) if result.triggered else None,
            teams=result.teams,
            team_weights=result.weights,
        )

    def _mark(self, exposure: Exposure) -> Mark:
        experiment = self._experiment
        named = (experiment.name, experiment.phase, exposure.unit_id, exposure.session_id, exposure.query_id)
        return Mark(
            event_id=event_id("triggered", *named),
            kind="triggered",
            experiment=experiment.name,
            phase=experiment.phase,
            variant=exposure.variant,
            unit_id=exposure.unit_id,
            session_id=exposure.session_id,
            occurred_at=exposure.occurred_at,
            query_id=exposure.query_id,
            would_change_pool=exposure.would_change_pool,
            would_change_page=exposure.triggered,
            depth_of_first_change=exposure.depth_of_first_change,
        )
