"""A channel's proxy: asks the sidecar, and gives up at the deadline.

Runs on the channel's own threads in the funnel's process, and does nothing
there but write, wait and read. Connections are kept and used again; one whose
answer did not come in time is thrown away with the answer. Nothing is asked
twice. Where there is no sidecar the channel is `off`, which costs a refused
connection and opens no breaker: the moment it is back, it is asked again.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from recall_plugin.errors import BadMessage, RecallPluginError, SidecarAway, SidecarLost
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query

from .wire import (
    WIRE,
    Answered,
    Describe,
    Described,
    FromSidecar,
    Prepare,
    Refused,
    ToSidecar,
    ask,
    receive,
    reply_from,
    send,
)

log = structlog.get_logger(__name__)

# Idle connections beyond this are closed: a burst's worth need not be kept.
KEEP_CONNECTIONS = 16


class SidecarLine:
    """Connections to one sidecar, shared by the proxies of its channels.

    Args:
        path: the sidecar's socket.
        when_away: called when nothing answers there; it may start a sidecar, and must not wait for it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        when_away: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._when_away = when_away
        self._clock = clock
        self._idle: deque[socket.socket] = deque()
        self._pid = os.getpid()
        self._is_away = False

    def exchange(self, question: ToSidecar, *, deadline_s: float) -> FromSidecar:
        """Ask and read the reply.

        Raises:
            TimeoutError: no reply by the deadline.
            SidecarAway: nothing is there.
            SidecarLost: it went away meanwhile.
            BadMessage: the reply cannot be read.
        """
        line = self._connected(deadline_s)
        try:
            self._set_time_left(line, deadline_s)
            send(line, question)
            reply = reply_from(receive(line, wait=lambda: self._set_time_left(line, deadline_s)))
        except TimeoutError:
            line.close()
            raise
        except OSError as error:
            line.close()
            raise SidecarLost(f"the sidecar at {self._path} went away ({error.strerror or error})") from error
        except BaseException:
            line.close()
            raise
        self._keep(line)
        return reply

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _connected(self, deadline_s: float) -> socket.socket:
        if self._pid != os.getpid():  # after a fork these are the parent's conversations
            self._idle, self._pid = deque(), os.getpid()
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if not _has_something_to_read(line):
                return line
            line.close()  # idle, so what there is to read is its end
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._set_time_left(line, deadline_s)
            line.connect(str(self._path))
        except TimeoutError:
            line.close()
            raise
        except OSError as error:
            line.close()
            raise self._away(error) from error
        if self._is_away:
            self._is_away = False
            log.info("sidecar_is_there", socket=str(self._path))
        return line

    def _keep(self, line: socket.socket) -> None:
        if len(self._idle) < KEEP_CONNECTIONS and self._pid == os.getpid():
            self._idle.append(line)
        else:
            line.close()

    def _set_time_left(self, line: socket.socket, deadline_s: float) -> None:
        left_s = deadline_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        line.settimeout(left_s)

    def _away(self, error: OSError) -> SidecarAway:
        if not self._is_away:  # once, not once a request
            log.warning(
                "sidecar_away", socket=str(self._path), effect="the base is served without its channels"
            )
        self._is_away = True
        self._when_away()
        return SidecarAway(
            f"no sidecar answers at {self._path} ({error.strerror or error}); "
            "start `python -m recall_plugin sidecar`"
        )


class SidecarChannel:
    """A channel that is answered by a sidecar."""

    def __init__(self, name: str, line: SidecarLine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.line = line
        self._clock = clock

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """What the channel in the sidecar answers, by the deadline."""
        try:
            question = ask(self.name, request, now_s=self._clock())
            reply = self.line.exchange(question, deadline_s=request.deadline_s)
        except TimeoutError:
            return ChannelAnswer(status="timeout", reason="the sidecar did not answer by the deadline")
        except SidecarAway as error:
            return ChannelAnswer(status="off", reason=str(error))
        except (SidecarLost, BadMessage) as error:
            return ChannelAnswer(status="error", reason=str(error))
        if isinstance(reply, Answered):
            return reply.answer
        reason = reply.reason if isinstance(reply, Refused) else f"answered with {type(reply).__name__}"
        return ChannelAnswer(status="error", reason=reason)

    def prepare(self, query: Query, *, wait_s: float) -> None:
        """Have the query embedded. Never raises: it is a favour."""
        message = Prepare(wire=WIRE, channel=self.name, text=query.text, image=query.image, wait_s=wait_s)
        try:
            self.line.exchange(message, deadline_s=self._clock() + wait_s)
        except (TimeoutError, RecallPluginError):
            return

    def close(self) -> None:
        """Close the idle connections; another proxy of the same line opens its own again."""
        self.line.close()


def describe(line: SidecarLine, *, within_s: float = 2.0) -> Described:
    """What runs in the sidecar.

    Raises:
        SidecarAway: nothing answers.
    """
    try:
        reply = line.exchange(Describe(wire=WIRE), deadline_s=time.monotonic() + within_s)
    except (TimeoutError, SidecarLost, BadMessage) as error:
        raise SidecarAway(f"the sidecar does not say what it runs: {error}") from error
    if not isinstance(reply, Described):
        raise SidecarAway(f"the sidecar does not say what it runs: {reply}")
    return reply


def _has_something_to_read(line: socket.socket) -> bool:
    watch = select.poll()
    watch.register(line, select.POLLIN)
    return bool(watch.poll(0))
