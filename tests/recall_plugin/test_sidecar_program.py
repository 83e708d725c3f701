"""The sidecar as a program: one per socket, gives way, is killed, stopped, started, and comes back."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recall_plugin.build import build_channels
from recall_plugin.errors import AlreadyRunning, InvalidSettings, SidecarAway
from recall_plugin.settings import Settings
from recall_plugin.sidecar.client import SidecarChannel, SidecarLine, describe
from recall_plugin.sidecar.starting import Starter, checked, owning
from tests.recall_plugin.doubles import PATIENCE_S, PROGRAM_S, ask, plugin, wait_for
from tests.recall_plugin.test_sidecar import request

ROOT = Path(__file__).parents[2]


def answers(line: SidecarLine) -> bool:
    """Then its connection is kept, and nobody is without one: the sidecar stays."""
    try:
        return describe(line).pid > 0
    except SidecarAway:
        return False


def test_one_sidecar_per_socket(path: Path) -> None:
    """The second ends at once; what a killed one left is taken over."""
    path.touch()
    with owning(path), pytest.raises(AlreadyRunning, match="already serves"), owning(path):
        pass
    with owning(path):
        pass


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    """The kernel's own message names no setting."""
    with pytest.raises(InvalidSettings, match="at most 103"):
        checked(Path("/tmp") / ("x" * 120))  # noqa: S108


def run_sidecar(path: Path, **environment: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "recall_plugin", "sidecar", "--socket", str(path)]
    # What else this machine does must not starve it: a test waits for it, a shopper does not.
    calm = {"RECALL_SIDECAR_GIVES_WAY": "false"}
    there = {"PYTHONPATH": str(ROOT), "PATH": "", "UNIECS_MODEL": "hash"} | calm | environment
    return subprocess.Popen(command, cwd=path.parent, env=there, stdout=subprocess.DEVNULL)


@pytest.fixture
def sidecar(path: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts real sidecars; ends what is left of them."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        started.append(run_sidecar(path, MILVUS_URI="http://127.0.0.1:1"))
        wait_for(lambda: answers(line))
        return started[-1]

    line = SidecarLine(path)
    yield start
    line.close()
    for one in started:
        one.kill()
        one.wait()


def test_killed_the_funnel_is_unharmed_and_it_comes_back_by_itself(
    path: Path, sidecar: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    """Kill -9 in the middle: the base is served; a new sidecar is used without a word to the plugin."""
    (channel,) = build_channels(["uniecs"], Settings(_env_file=None, sidecar_socket=path))
    first = sidecar()
    with plugin(channel) as made:
        alive = ask(made, ["a", "b"]).channels["uniecs"]
        first.send_signal(signal.SIGKILL)
        first.wait()
        killed = ask(made, ["a", "b"])
        sidecar()
        back = ask(made, ["a", "b"]).channels["uniecs"]

    assert ["a", "b"] == list(killed.product_ids)
    assert ("off", True) == (killed.channels["uniecs"].status, killed.degraded)
    assert "no sidecar answers" in killed.channels["uniecs"].reason
    # It has no index to search, and says so itself.
    assert "no sidecar answers" not in alive.reason + back.reason


LOADS_FOR_EVER = """
import os, signal, sys
from pathlib import Path
from recall_plugin.sidecar.running import run_sidecar
from uniecs.runtime import Row, Runtime

def load(name):
    runtime = Runtime(Path("demo/model"))
    runtime.embed([Row(text="mug")])
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        runtime.embed([Row(text="mug")])

run_sidecar(Path(sys.argv[1]), load, ["slow"], in_flight=1)
"""


def test_told_to_stop_while_it_loads_it_ends_well(path: Path) -> None:
    """The interpreter's own end stops a thread inside the model's code, which aborts at that."""
    command = [sys.executable, "-c", LOADS_FOR_EVER, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PROGRAM_S, check=False)

    assert 0 == done.returncode, done.stderr
    assert not path.exists()


@pytest.mark.skipif(
    not hasattr(os, "SCHED_IDLE"), reason="only Linux can run a process where nobody else wants to"
)
def test_it_gives_way_to_the_funnel(path: Path) -> None:
    """Before it loads anything. Where nothing is ever idle that may take minutes: no more is asked."""
    running = run_sidecar(path, RECALL_SIDECAR_GIVES_WAY="true", MILVUS_URI="http://127.0.0.1:1")
    try:
        wait_for(lambda: os.sched_getscheduler(running.pid) == os.SCHED_IDLE)
    finally:
        running.kill()
        running.wait()

    assert os.SCHED_OTHER == os.sched_getscheduler(0)


GIVES_WAY = """
import os
from threading import Event, Thread
from recall_plugin.sidecar.giving_way import give_way

before, after = (Thread(target=Event().wait, daemon=True) for _ in range(2))
before.start()
give_way()
after.start()
print(sorted(os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(
    not hasattr(os, "SCHED_IDLE"), reason="only Linux can run a process where nobody else wants to"
)
def test_every_thread_gives_way() -> None:
    """Those that imports began, and those to come."""
    command = [sys.executable, "-c", GIVES_WAY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PROGRAM_S, check=True)

    assert str([os.SCHED_IDLE] * 3) == done.stdout.decode().strip()


def test_stopped_it_ends_well_and_takes_its_socket_with_it(
    path: Path, sidecar: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    """SIGHUP loads again, SIGTERM ends."""
    running, line = sidecar(), SidecarLine(path)
    wait_for(lambda: "loaded" in str(describe(line, within_s=PATIENCE_S).channels.get("uniecs")))
    line.close()
    running.send_signal(signal.SIGHUP)
    running.send_signal(signal.SIGTERM)

    assert 0 == running.wait(PROGRAM_S)
    assert not path.exists()


def test_a_plugin_may_start_its_sidecar(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opt-in, beside the request, once; it ends when nobody needs it."""
    monkeypatch.setenv("UNIECS_MODEL", "hash")
    monkeypatch.setenv("MILVUS_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("RECALL_SIDECAR_GIVES_WAY", "false")
    monkeypatch.setattr("recall_plugin.sidecar.starting.END_WHEN_IDLE_S", 0.5)
    starter = Starter(path)
    line = SidecarLine(path, when_away=starter)
    channel = SidecarChannel("uniecs", line)

    first = channel.find(request())
    try:
        wait_for(lambda: answers(line))
        started, pid = starter._started, describe(line, within_s=PATIENCE_S).pid
        starter._again_s = float("-inf")
        starter()
        wait_for(lambda: all(thread.name != "start-sidecar" for thread in threading.enumerate()))
        line.close()
        assert started is not None
        ended = started.wait(PROGRAM_S)
    finally:
        if starter._started is not None:
            starter._started.kill()

    assert "no sidecar answers" in first.reason
    assert pid == started.pid != os.getpid()
    assert starter._started is started
    assert 0 == ended
