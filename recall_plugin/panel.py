"""The channels, each behind its breaker and on threads of its own.

Asks, collects, keeps score. It knows nothing of experiments or of merging. A
channel that is missing, switched off, broken or busy is an answer like any
other: asking never raises and never waits.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from .breaker import Breaker, Permit
from .channels import Channel
from .cleaning import clean
from .deadline import Round
from .query import ChannelAnswer, ChannelRequest
from .tally import Tally
from .workers import Workers

log = structlog.get_logger(__name__)

SWITCHED_OFF = ChannelAnswer(status="off", reason="switched off")
NOT_LOADED = ChannelAnswer(status="off", reason="no such channel is loaded")
LEFT_ALONE = ChannelAnswer(status="open", reason="failed too often of late; left alone for a while")
ALL_BUSY = ChannelAnswer(status="shed", reason="all of its threads are busy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A channel on the panel."""

    channel: Channel
    breaker: Breaker
    workers: Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A round under way, with the permits it holds."""

    round: Round
    permits: dict[str, Permit]


class Panel:
    """Channels by name.

    Args:
        in_flight: how many requests one channel may have at a time; more are shed.
        breaker: makes a channel's breaker.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        in_flight: int = 8,
        breaker: Callable[[], Breaker] = Breaker,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = tally or Tally()
        self._clock = clock
        self._seats = {
            channel.name: Seat(
                channel=channel, breaker=breaker(), workers=Workers(channel.name, limit=in_flight)
            )
            for channel in channels
        }

    @property
    def seats(self) -> Mapping[str, Seat]:
        """Who is on it."""
        return self._seats

    def ask(self, names: Sequence[str], request: ChannelRequest, *, off: Collection[str] = ()) -> Asked:
        """Put the question to these channels and return at once."""
        asked = Asked(round=Round(names), permits={})
        for name in names:
            refusal = SWITCHED_OFF if name in off else self._put(name, request, asked)
            if refusal is not None:
                self.tally.add(f"{name}.{refusal.status}")
                asked.round.arrive(name, refusal)
        return asked

    def settle(self, asked: Asked, answers: Mapping[str, ChannelAnswer]) -> None:
        """The round was joined: each channel's breaker learns how it went."""
        now_s = self._clock()
        for name, permit in asked.permits.items():
            status = answers[name].status
            self.tally.add(f"{name}.{status}")
            if status == "off":  # its own word that it is not fit to serve: no failure, no success
                self._seats[name].breaker.forget(permit)
            else:
                self._seats[name].breaker.report(permit, went_well=answers[name].answered, now_s=now_s)

    def abandon(self, asked: Asked) -> None:
        """The request ended without a join: no evidence about any channel."""
        asked.round.abandon()
        for name, permit in asked.permits.items():
            self._seats[name].breaker.forget(permit)

    def close(self) -> None:
        """Let go of every channel; one that fails at it is logged."""
        for name, seat in self._seats.items():
            seat.workers.close()
            try:
                seat.channel.close()
            except Exception as error:
                log.warning("channel_close_failed", channel=name, error=repr(error))

    def _put(self, name: str, request: ChannelRequest, asked: Asked) -> ChannelAnswer | None:
        seat = self._seats.get(name)
        if seat is None:
            return NOT_LOADED
        permit = seat.breaker.admit(now_s=self._clock())
        if permit is None:
            return LEFT_ALONE
        if not seat.workers.submit(lambda: self._find(seat.channel, request, asked.round)):
            seat.breaker.forget(permit)
            return ALL_BUSY
        asked.permits[name] = permit
        return None

    def _find(self, channel: Channel, request: ChannelRequest, asked: Round) -> None:
        """On a thread of the channel: never raises."""
        started_s = self._clock()
        try:
            answer, dropped = clean(channel.find(request), request)
        except BaseException as error:  # a thread has nobody to raise to
            answer, dropped = ChannelAnswer(status="error", reason=repr(error)), {}
        for reason, count in dropped.items():
            self.tally.add(f"{channel.name}.dropped_{reason}", count)
        if not asked.arrive(channel.name, replace(answer, took_ms=(self._clock() - started_s) * 1000)):
            self.tally.add(f"{channel.name}.late")
        if answer.status == "error":
            log.warning(
                "channel_failed", channel=channel.name, request_id=request.request_id, why=answer.reason
            )
