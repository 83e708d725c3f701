"""A few threads per channel, whatever hangs on them."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from threading import Event

import pytest

from recall_plugin.workers import Workers
from tests.recall_plugin.doubles import PATIENCE_S, PROGRAM_S, wait_for

ROOT = Path(__file__).parents[2]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=PROGRAM_S, cwd=ROOT)


def names_of(prefix: str) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)}


def test_no_more_work_than_the_limit_is_taken() -> None:
    """All busy: refused at once, and nobody queues."""
    workers, let_go = Workers("bounded", limit=2), Event()

    def hangs() -> None:
        let_go.wait(PATIENCE_S)

    taken = [workers.submit(hangs) for _ in range(5)]

    assert [True, True, False, False, False] == taken
    assert {"recall-bounded-1", "recall-bounded-2"} == names_of("recall-bounded")
    let_go.set()
    wait_for(lambda: workers.busy == 0)
    assert workers.submit(let_go.set)
    workers.close()


def test_idle_threads_are_used_again() -> None:
    """One request at a time needs one thread."""
    workers = Workers("again", limit=8)
    for _ in range(20):
        done = Event()
        assert workers.submit(done.set)
        assert done.wait(PATIENCE_S)
        wait_for(lambda: workers.busy == 0)

    assert {"recall-again-1"} == names_of("recall-again")
    workers.close()


def test_threads_are_daemons_named_for_the_channel_and_end_at_close() -> None:
    """A thread dump says whose they are."""
    workers, done = Workers("named", limit=1), Event()
    seen: list[threading.Thread] = []

    def looks() -> None:
        seen.append(threading.current_thread())
        done.set()

    workers.submit(looks)
    assert done.wait(PATIENCE_S)
    workers.close()
    wait_for(lambda: not names_of("recall-named"))

    assert seen[0].daemon
    assert not workers.submit(done.set)


def test_work_that_raises_does_not_cost_a_thread() -> None:
    """The next piece is done."""
    workers, done = Workers("raises", limit=1), Event()

    def fails() -> None:
        raise SystemExit(3)

    workers.submit(fails)
    wait_for(lambda: workers.busy == 0)

    assert workers.submit(done.set)
    assert done.wait(PATIENCE_S)
    workers.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_process_starts_threads_of_its_own() -> None:
    """A server forks after loading; threads do not survive that."""
    code = """
import os, warnings
from threading import Event
from recall_plugin.workers import Workers
warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
workers, done = Workers("forked", limit=1), Event()
workers.submit(done.set); done.wait(120)
child = os.fork()
if child == 0:
    again = Event()
    os._exit(0 if workers.submit(again.set) and again.wait(120) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run(code)

    assert "0" == done.stdout.strip(), done.stderr


def test_a_process_with_a_hung_channel_ends() -> None:
    """A deploy must not wait for a socket that nobody answers."""
    code = """
from threading import Event
from recall_plugin.workers import Workers
Workers("hung", limit=1).submit(Event().wait)
print("ending")
"""
    done = run(code)

    assert (0, "ending") == (done.returncode, done.stdout.strip()), done.stderr
