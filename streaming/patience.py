"""Doing what may be slow, or not answer, while staying a member of the group.

The work runs beside, on a thread of its own, one at a time; the caller's thread
goes on polling without taking anything. So neither a slow batch nor a store
that is away costs the membership, and a partition that is asked back meanwhile
is let go when the work on it is done.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self, TypeVar

import structlog

from product_index.errors import Retryable as IndexRetryable
from product_index.errors import UnknownCollection

from .change_log import ChangeLog
from .errors import LogUnavailable, Retryable

log = structlog.get_logger()

# The group must hear from us more often than its session ends, which is 6 s at least.
HEARTBEAT_S = 0.5
# The name of a collection may not resolve for a moment, or until the first build of the index.
WORTH_WAITING = (IndexRetryable, UnknownCollection, Retryable)

Answer = TypeVar("Answer")


class Stopped(Exception):
    """Told to stop while something did not answer; the batch will come again."""


class Patience:
    """Waits for answers as a member of the group.

    Args:
        stop: asked while nobody answers.
        backoff_s: the first pause when something does not answer; it doubles.
        backoff_max_s: the longest pause.
        steady_s, sleep, chance: stop-watch, patience and jitter.

    Attributes:
        ahead: so many messages are read for later while something works.
    """

    def __init__(
        self,
        changes: ChangeLog,
        *,
        stop: Callable[[], bool],
        backoff_s: float,
        backoff_max_s: float,
        steady_s: Callable[[], float],
        sleep: Callable[[float], None],
        chance: Random,
    ) -> None:
        self._changes = changes
        self._stop = stop
        self._backoff_from_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._steady_s = steady_s
        self._sleep = sleep
        self._chance = chance
        self._paused = False
        self.ahead = 0
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="work")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._beside.shutdown(wait=False, cancel_futures=True)

    def until_answered(self, act: Callable[[], Answer]) -> Answer:
        """Act, and again with growing pauses for as long as nobody answers.

        Raises:
            Stopped: told to stop while nobody answered.
        """
        attempt = 0
        try:
            while True:
                try:
                    return self._done_beside(act)
                except WORTH_WAITING as error:
                    if self._stop():
                        raise Stopped from error
                    pause_s = self._backoff_s(attempt)
                    log.warning(
                        "waiting", reason=str(error), attempt=attempt + 1, retry_in_s=round(pause_s, 2)
                    )
                    self._pause()
                    self._wait_as_member(pause_s)
                    attempt += 1
        finally:
            if self._paused:
                self._paused = False
                self._changes.resume()

    def _done_beside(self, act: Callable[[], Answer]) -> Answer:
        work: Future[Answer] = self._beside.submit(act)
        if self.ahead and not self._paused:
            with suppress(LogUnavailable):  # the next poll will say so
                self._changes.read_ahead(lambda: not work.done(), max_messages=self.ahead)
        while not wait([work], timeout=HEARTBEAT_S).done:
            self._pause(lambda: not work.done())
            self._heartbeat()
        return work.result()

    def _pause(self, working: Callable[[], bool] = lambda: False) -> None:
        self._paused = True
        self._changes.pause(working)

    def _heartbeat(self) -> None:
        try:
            self._changes.heartbeat()
        except LogUnavailable as error:
            log.warning("log_away", reason=str(error))

    def _backoff_s(self, attempt: int) -> float:
        """Doubling, with jitter, so that many workers do not come back at once."""
        longest = min(self._backoff_max_s, self._backoff_from_s * 2.0 ** min(attempt, 20))
        return longest * (0.5 + self._chance.random() / 2)

    def _wait_as_member(self, pause_s: float) -> None:
        until_s = self._steady_s() + pause_s
        while not self._stop() and (left_s := until_s - self._steady_s()) > 0:
            self._heartbeat()
            self._sleep(min(HEARTBEAT_S, left_s))
