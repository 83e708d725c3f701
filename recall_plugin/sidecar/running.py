"""The sidecar as a program: own the socket, load what is planned, serve, end well."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from .server import THREADS, Load, Shelf, SidecarServer
from .starting import owning


def run_sidecar(
    path: Path, load: Load, planned: Iterable[str], *, in_flight: int, end_when_idle_s: float | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; on SIGHUP load the channels again, the old ones answering meanwhile.

    Args:
        path: the socket.
        load: opens a channel by its name; asked again at a reload.
        planned: the channels to load at once; others are loaded when they are first asked.
        in_flight: the most questions at a time per channel.
        end_when_idle_s: end when nobody was connected for this long.

    Raises:
        AlreadyRunning: another sidecar serves this socket.
        InvalidSettings: the socket cannot be made.
    """
    with owning(path):
        shelf = Shelf(load, highest_limit=in_flight, loaded=_set_apart)
        server = SidecarServer(shelf, path, end_when_idle_s=end_when_idle_s)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        signal.signal(
            signal.SIGHUP,
            lambda *_: Thread(target=shelf.reload, name=f"{THREADS}reload", daemon=True).start(),
        )
        shelf.begin(planned)
        try:
            server.serve()
        finally:
            shelf.close()
    _leave_what_is_under_way()


def _leave_what_is_under_way() -> None:
    """End now where a channel is still being loaded or asked.

    Nobody waits for it any more, and the interpreter's own end would stop its threads in the middle of
    foreign code, which aborts at that.
    """
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _set_apart() -> None:
    """Take what was loaded out of the collector's sight.

    Clients and models are 125,000 objects that live as long as the process. Looking through them took
    164 ms now and then, in which no question was answered.
    """
    gc.unfreeze()  # what the channels before a reload left behind is found now
    gc.collect()
    gc.freeze()
