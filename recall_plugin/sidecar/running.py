"""The sidecar as a program: own the socket, load what is planned, serve, end well."""

import signal
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from .server import Load, Shelf, SidecarServer
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
        shelf = Shelf(load, highest_limit=in_flight)
        server = SidecarServer(shelf, path, end_when_idle_s=end_when_idle_s)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        signal.signal(
            signal.SIGHUP, lambda *_: Thread(target=shelf.reload, name="reload", daemon=True).start()
        )
        shelf.begin(planned)
        try:
            server.serve()
        finally:
            shelf.close()
