"""Where the sidecar's socket is, who may own it, and starting one that is not there.

One sidecar per socket: it holds a lock beside it for as long as it lives, and
the system frees the lock however it ends. Normally the host's process manager
starts it (systemd, a container, supervisord) and starts it again. Without one,
RECALL_SIDECAR_START has the plugin start it when nothing answers; of several
workers that try, one gets the lock and the others end at once.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from recall_plugin.errors import AlreadyRunning, InvalidSettings

log = structlog.get_logger(__name__)

# The longest address a Unix socket can have, less its final zero (Linux 108, macOS 104).
MAX_PATH_BYTES = 103
# A sidecar that was just started needs this long to be there; no second is started meanwhile.
START_AGAIN_AFTER_S = 5.0
_LOOKS, _LOOK_EVERY_S = 20, 0.1
# One that the plugin started ends when no plugin has been connected for this long.
END_WHEN_IDLE_S = 60.0


def default_socket() -> Path:
    """The socket of this user: in the session's folder, or in one of its own under the temporary folder."""
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session:
        return Path(session) / "uniecs-recall.sock"
    return Path(tempfile.gettempdir()) / f"uniecs-recall-{os.getuid()}" / "sidecar.sock"


def checked(path: Path) -> Path:
    """The path, if it can be a socket's.

    Raises:
        InvalidSettings: it is too long.
    """
    length = len(os.fsencode(path.absolute()))
    if length > MAX_PATH_BYTES:
        raise InvalidSettings(
            f"RECALL_SIDECAR_SOCKET has {length} bytes as an absolute path, a socket's has at most "
            f"{MAX_PATH_BYTES}; choose a shorter folder"
        )
    return path.absolute()


@contextmanager
def owning(path: Path) -> Iterator[None]:
    """Be the one sidecar of this socket; its folder is made, for this user only.

    Raises:
        AlreadyRunning: another one is.
        InvalidSettings: the folder belongs to somebody else, or cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            raise InvalidSettings(
                f"{path.parent} belongs to another user; set RECALL_SIDECAR_SOCKET to a path of your own"
            )
        lock = _lock_of(path).open("a", encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(
            f"no socket can be made at {path} ({error.strerror}); set RECALL_SIDECAR_SOCKET to another path"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"a sidecar already serves {path}; end it first, or use it") from error
        path.unlink(missing_ok=True)  # of one that was killed
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Starter:
    """Starts a sidecar when nothing answers; at most one every few seconds, never waited for."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._pause = Event()
        self._again_s = float("-inf")
        self._started: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """See to it that one is started, unless that was done just now."""
        with self._lock:
            if self._clock() < self._again_s:
                return
            self._again_s = self._clock() + START_AGAIN_AFTER_S
        Thread(target=self._start, name="start-sidecar", daemon=True).start()

    def _start(self) -> None:
        """Start one, unless the last is on its way yet, or the lock stays taken.

        One that was just killed holds the lock a moment longer.
        """
        if self._started is not None and self._started.poll() is None:
            return
        for _ in range(_LOOKS):
            if not _is_owned(self._path):
                break
            self._pause.wait(_LOOK_EVERY_S)
        else:
            return
        with self._lock:
            command = [sys.executable, "-m", "recall_plugin", "sidecar", "--socket", str(self._path)]
            command += ["--end-when-idle-s", str(END_WHEN_IDLE_S)]
            # What it says goes beside its socket: it may outlive whoever started it, and their terminal.
            # A group of its own, so that Ctrl-C does not end it; the same session, where it gives way.
            with contextlib.suppress(OSError), _log_of(self._path).open("ab") as said:
                self._started = subprocess.Popen(  # noqa: S603 - this interpreter, this package
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0
                )
                log.info("sidecar_started", pid=self._started.pid, socket=str(self._path))


def _is_owned(path: Path) -> bool:
    try:
        with _lock_of(path).open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _log_of(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.with_name(path.name + ".log")


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
