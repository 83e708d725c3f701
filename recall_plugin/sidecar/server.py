"""The sidecar: channels behind a Unix socket, a thread for each connection.

A connection carries one question at a time, so its thread may simply wait for
the channel; the client opens as many as it has questions. Above its channel's
limit a question is `shed`, above the limit on connections it is refused.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from recall_plugin.channels import Channel
from recall_plugin.channels.limited import GradientLimit, LimitedChannel, LimitRule
from recall_plugin.channels.state import ChannelState, state_of
from recall_plugin.cleaning import clean
from recall_plugin.errors import BadMessage
from recall_plugin.query import ChannelAnswer, Query

from .wire import (
    Answered,
    Ask,
    Describe,
    Described,
    FromSidecar,
    Prepare,
    Refused,
    ToSidecar,
    question_from,
    receive,
    send,
)

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 512
# What the names of its threads begin with: they run a channel's code.
THREADS = "sidecar-"
# A client that does not read its answer for this long is gone.
WRITE_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.2
# A model that takes longer is woken by a shopper.
_WAKE_S = 30.0

# From a channel's name to the channel; it may raise whatever the channel's code raises.
Load = Callable[[str], Channel]


class Shelf:
    """The channels of a sidecar, each loaded once, by name, beside the requests.

    Args:
        load: opens a channel.
        highest_limit: of questions at a time, per channel.
        loaded: called each time a channel has been loaded, before it is asked.
    """

    def __init__(
        self, load: Load, *, highest_limit: int = 64, loaded: Callable[[], None] = lambda: None
    ) -> None:
        self._load = load
        self._highest_limit = highest_limit
        self._loaded = loaded
        self._lock = Lock()
        self._channels: dict[str, LimitedChannel | str] = {}

    def begin(self, names: Iterable[str]) -> None:
        """Start loading these, unless that was done."""
        for name in names:
            with self._lock:
                if name in self._channels:
                    continue
                self._channels[name] = "being loaded"
            Thread(target=self._open, args=(name,), name=f"{THREADS}load-{name}", daemon=True).start()

    def get(self, name: str) -> LimitedChannel | str:
        """The channel, or why it is not there."""
        found = self._channels.get(name)
        if found is None:
            self.begin([name])
            return "being loaded"
        return found

    def states(self) -> dict[str, ChannelState]:
        """For people."""
        with self._lock:
            channels = dict(self._channels)
        return {
            name: ChannelState(state=one) if isinstance(one, str) else state_of(one)
            for name, one in channels.items()
        }

    def reload(self) -> None:
        """Load all again beside the old ones, which answer until the new ones can."""
        for name in list(self._channels):
            self._open(name)

    def close(self) -> None:
        """Let go of every channel."""
        with self._lock:
            channels, self._channels = self._channels, {}
        for channel in channels.values():
            if isinstance(channel, LimitedChannel):
                _close(channel)

    def _open(self, name: str) -> None:
        before = self._channels.get(name)
        try:
            limit = GradientLimit(LimitRule(highest=self._highest_limit))
            channel = self._load(name)
            _wake(channel)
            self._loaded()
            log.info("channel_loaded", channel=name)
            opened: LimitedChannel | str = LimitedChannel(channel, limit)
        except BaseException as error:  # a channel is someone else's code
            opened = str(error)
            log.exception("channel_left_out", channel=name, error=str(error))
            if isinstance(before, LimitedChannel):
                return  # what was loaded goes on
        with self._lock:
            self._channels[name] = opened
        if isinstance(before, LimitedChannel):
            _close(before)


def _wake(channel: Channel) -> None:
    """Open its index and use its model once, where it can: else the first shoppers would wait for both."""
    serving, prepare = getattr(channel, "serving", None), getattr(channel, "prepare", None)
    with suppress(Exception):  # whoever asks first will be told
        if serving is not None:
            serving()
        if prepare is not None:
            prepare(Query(text="first"), wait_s=_WAKE_S)


class SidecarServer:
    """Serves a shelf on a socket until it is stopped.

    Args:
        shelf: the channels.
        path: the socket, already owned by this process (`starting.owning`).
        end_when_idle_s: stop when no client has been connected for this long; None is never.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        shelf: Shelf,
        path: Path,
        *,
        end_when_idle_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._path = path
        self._end_when_idle_s = end_when_idle_s
        self._clock = clock
        self._stopped = Event()
        self._lock = Lock()
        self._connections: set[socket.socket] = set()

    def serve(self) -> None:
        """Accept until stopped, then end every conversation."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(self._path))
            self._path.chmod(0o600)
            listening.listen(MAX_CONNECTIONS)
            listening.settimeout(_LOOK_EVERY_S)
            log.info("sidecar_listens", socket=str(self._path), pid=os.getpid())
            idle_since_s = self._clock()
            while not self._stopped.is_set():
                if self._connections:
                    idle_since_s = self._clock()
                if self._end_when_idle_s is not None and self._clock() - idle_since_s > self._end_when_idle_s:
                    log.info("sidecar_ends", why=f"nobody was connected for {self._end_when_idle_s:g} s")
                    break
                with suppress(TimeoutError):
                    self._take(listening.accept()[0])
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End `serve`, from anywhere."""
        self._stopped.set()

    def _take(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        with self._lock:
            full = len(self._connections) >= MAX_CONNECTIONS
            if not full:
                self._connections.add(connection)
        if full:
            connection.close()
            return
        Thread(target=self._converse, args=(connection,), name=f"{THREADS}asked", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            while True:
                reply = self._reply(receive(connection))
                connection.settimeout(WRITE_WITHIN_S)
                send(connection, reply)
                connection.settimeout(None)
        except BadMessage as error:
            with suppress(OSError):
                send(connection, Refused(str(error)))
        except OSError:
            pass  # the client is gone: it has given up
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _reply(self, message: bytes) -> FromSidecar:
        question: ToSidecar = question_from(message)
        if isinstance(question, Describe):
            return Described(pid=os.getpid(), channels=self._shelf.states())
        if isinstance(question, Prepare):
            return self._prepare(question)
        return Answered(self._answer(question))

    def _answer(self, question: Ask) -> ChannelAnswer:
        now_s = self._clock()
        channel = self._shelf.get(question.channel)
        if isinstance(channel, str):
            return ChannelAnswer(status="off", reason=f"channel {question.channel!r}: {channel}")
        try:
            request = question.request(now_s=now_s)
            if request.deadline_s <= now_s:
                return ChannelAnswer(status="timeout", reason="the deadline had passed when it was read")
            return clean(channel.find(request), request)[0]
        except Exception as error:  # a channel is someone else's code
            return ChannelAnswer(status="error", reason=repr(error))

    def _prepare(self, question: Prepare) -> FromSidecar:
        channel = self._shelf.get(question.channel)
        if isinstance(channel, str):
            return Refused(f"channel {question.channel!r}: {channel}")
        try:
            channel.prepare(Query(text=question.text, image=question.image), wait_s=question.wait_s)
        except Exception as error:
            return Refused(str(error))
        return Answered(ChannelAnswer(status="ok"))


def _close(channel: LimitedChannel) -> None:
    try:
        channel.close()
    except Exception as error:
        log.warning("channel_close_failed", channel=channel.name, error=repr(error))
