"""Start a program, know where its log is, and end it by pid.

A note in the run folder names each program with the time it started, so that
the next run can end what a killed run left, and nothing else.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# A server flushes and closes in one or two seconds; past this it hangs.
GRACE_S = 20.0
ROOT = Path(__file__).resolve().parent.parent


class StackError(Exception):
    """A part of the demo's stack cannot start; the message says what to do."""


@dataclass(slots=True, kw_only=True)
class Process:
    """A program that we started.

    Attributes:
        log: where its standard output and error go.
        note: the file that names it for the next run; None keeps no note.
    """

    name: str
    log: Path
    note: Path | None
    _popen: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs; minus the signal if one ended it."""
        return self._popen.poll()

    def wait(self, *, timeout_s: float | None = None) -> int:
        """Wait for its end and return how it ended.

        Raises:
            StackError: it still runs after the time.
        """
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise StackError(
                f"{self.name} (pid {self.pid}) still runs after {timeout_s:g} s; its log is {self.log}"
            ) from None
        self._forget()
        return code

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """End it: ask, wait, then kill. Twice is the same as once."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._forget()

    def _forget(self) -> None:
        if self.note is not None:
            self.note.unlink(missing_ok=True)


def start_process(
    name: str,
    argv: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    *,
    run_folder: Path | None = None,
) -> Process:
    """Start a program that dies with us, its output going to `log`.

    Args:
        name: what people call it; also the name of its note.
        argv: the program and its arguments.
        log: appended to; its folder is made.
        env: added to our own environment. The checkout is importable.
        run_folder: where the note `NAME.pid` is kept.

    Raises:
        StackError: no such program.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise StackError(f"{name}: no program {argv[0]!r} on the PATH; install it or give its full path")
    command = [program, *argv[1:]]
    if sys.platform == "linux":
        shim = str(Path(__file__).with_name("die_with_parent.py"))
        command = [sys.executable, "-I", "-S", shim, str(os.getpid()), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **(env or {})}
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us: we end it in order
        )
    note = None
    if run_folder is not None:
        run_folder.mkdir(parents=True, exist_ok=True)
        note = run_folder / f"{name}.pid"
        text = {
            "pid": popen.pid,
            "started": started_at(popen.pid),
            "owner": os.getpid(),
            "owner_started": started_at(os.getpid()),
        }
        note.write_text(json.dumps(text), encoding="utf-8")
    return Process(name=name, log=log, note=note, _popen=popen)


@contextmanager
def finish_first() -> Iterator[None]:
    """Answer Ctrl-C and its kin only afterwards: a program that is half started cannot be ended in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {sign: signal.signal(sign, lambda number, _frame: came.append(number)) for sign in signs}
    try:
        yield
    finally:
        for sign, handler in handlers.items():
            signal.signal(sign, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


def end_leftovers(run_folder: Path) -> list[str]:
    """End what a killed run left behind, and return the names.

    Raises:
        StackError: the run that started it is still going.
    """
    ended = []
    for note in sorted(run_folder.glob("*.pid")):
        try:
            left = json.loads(note.read_text(encoding="utf-8"))
            pid, owner = int(left["pid"]), int(left["owner"])
        except (ValueError, KeyError, TypeError):
            note.unlink(missing_ok=True)  # cut off while it was written
            continue
        if _is_same(pid, left["started"]):
            if owner != os.getpid() and _is_same(owner, left["owner_started"]):
                raise StackError(
                    f"another run (pid {owner}) uses {run_folder.parent}; "
                    f"wait for its end, or end it with `kill {owner}`"
                )
            _end(pid, left["started"])
            ended.append(note.stem)
        note.unlink(missing_ok=True)
    return ended


def started_at(pid: int) -> str | None:
    """When the process started, in the system's own words; None where there is none.

    A pid is given again to others; together with this it is not.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]  # a zombie has ended
    told = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None


def free_port(wanted: int | None = None) -> int:
    """Pick a free port on loopback, or check that the wanted one is free.

    A server takes seconds to start, and may be started again. On Linux nobody else gets the port
    meanwhile, as long as this process lives: it stays bound here, and whoever sets SO_REUSEADDR,
    as servers do, may listen at it all the same.

    Raises:
        StackError: the wanted port is taken.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", wanted or 0))
    except OSError as error:
        probe.close()
        raise StackError(
            f"port {wanted} on 127.0.0.1 cannot be used ({error.strerror}); "
            "end the program that holds it, or choose another port"
        ) from None
    port: int = probe.getsockname()[1]
    if wanted is None and sys.platform == "linux":
        atexit.register(probe.close)  # kept until then
    else:
        probe.close()
    return port


def wait_until(
    ready: Callable[[], bool], process: Process, *, timeout_s: float, poll_s: float = 0.05
) -> None:
    """Wait until a server answers.

    Raises:
        StackError: it ended, or did not answer in time; with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.exit_code is not None:
            raise StackError(
                f"{process.name} ended with code {process.exit_code} while starting; "
                f"see {process.log}\n{log_end(process.log)}"
            )
        if time.monotonic() > deadline:
            process.stop()
            raise StackError(
                f"{process.name} did not answer within {timeout_s:g} s; "
                f"see {process.log}\n{log_end(process.log)}"
            )
        time.sleep(poll_s)


def port_answers(port: int) -> bool:
    """Whether something on loopback accepts a connection on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def log_end(log: Path, *, lines: int = 5) -> str:
    """The last lines of a log, indented, or nothing."""
    if not log.exists():
        return ""
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join("    " + line[:300] for line in last)


def _is_same(pid: int, started: str | None) -> bool:
    return started is not None and started_at(pid) == started


def _end(pid: int, started: str) -> None:
    for sign, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 5.0)):
        if not _is_same(pid, started):
            return
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while _is_same(pid, started) and time.monotonic() < deadline:
            time.sleep(0.05)
