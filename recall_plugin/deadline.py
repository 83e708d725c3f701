"""The join rule: take what the channels have when the base is ready.

A timeout is the wrong tool: a channel that hangs then costs every shopper the
whole timeout. Here nobody waits for a channel. Channels are asked first, the
base is computed meanwhile, and the moment it is ready the round is joined:
what has arrived is taken, what has not is a `timeout`. A grace (default 0 ms)
may be granted on top; nothing waits beyond it, and nothing waits for a channel
when all have answered. Late answers are refused by `arrive`.

The base given as a finished list is ready at once: then the grace is all the
time the channels have. Give a callable or an awaitable to let both run together.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Event, Lock

from .query import ChannelAnswer

TIMED_OUT = ChannelAnswer(status="timeout", reason="not ready when the base was")


class Round:
    """One request's questions, from asking to the join."""

    def __init__(self, channels: Iterable[str]) -> None:
        self._lock = Lock()
        self._answers: dict[str, ChannelAnswer | None] = dict.fromkeys(channels)
        self._missing = len(self._answers)
        self._joined = False
        self._on_complete: Callable[[], None] | None = None

    def arrive(self, channel: str, answer: ChannelAnswer) -> bool:
        """Hand in an answer; False if it comes too late to count."""
        with self._lock:
            if self._joined or self._answers.get(channel) is not None:
                return False
            self._answers[channel] = answer
            self._missing -= 1
            wake = self._on_complete if self._missing == 0 else None
        if wake is not None:
            wake()
        return True

    def join(self, *, grace_s: float) -> Mapping[str, ChannelAnswer]:
        """The base is ready: what is there, after the grace if any is missing."""
        if grace_s > 0:
            complete = Event()
            if not self._tell(complete.set):
                complete.wait(grace_s)
        return self._take()

    async def ajoin(self, *, grace_s: float) -> Mapping[str, ChannelAnswer]:
        """As `join`, leaving the event loop to others meanwhile."""
        if grace_s > 0:
            loop, complete = asyncio.get_running_loop(), asyncio.Event()

            def wake() -> None:
                with suppress(RuntimeError):  # the loop may be closed by the time
                    loop.call_soon_threadsafe(complete.set)

            if not self._tell(wake):
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await complete.wait()
        return self._take()

    def abandon(self) -> None:
        """Nobody waits any more: whatever arrives now is late."""
        self._take()

    def _tell(self, wake: Callable[[], None]) -> bool:
        """Arrange the call for when all have answered; True if they have."""
        with self._lock:
            self._on_complete = wake
            return self._missing == 0

    def _take(self) -> Mapping[str, ChannelAnswer]:
        with self._lock:
            self._joined = True
            self._on_complete = None
            return {name: answer or TIMED_OUT for name, answer in self._answers.items()}
