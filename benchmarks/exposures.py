"""A million searches over four workers that are killed and started again: who was exposed, exactly once each?

    python -m benchmarks.exposures [--requests 1000000] [--workers 4] [--kills 8]

Every search goes to two workers now and then (a retry, a second tab), and a
worker that is started again serves its last searches again, as a host does
that was not answered. Each worker writes its own JSON Lines through the ring.
Then DuckDB dedupes by event_id: there must be exactly one mark per unit,
experiment, phase and session, exactly one exposure per search, each of the
variant that assignment gives, and no worker's memory may have grown with the
number of its shoppers.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.assignment import assign
from experiments.definition import load_experiments
from experiments.events.json_lines_log import JsonLinesEventLog, finish_left_open
from experiments.warehouse import connect
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from recall_plugin.settings import Settings

QUERY = Query(text="red mug", limit=5)
NOW = datetime(2026, 1, 15, tzinfo=UTC)
SEARCHES_PER_SESSION = 4
# A worker tells how far it is; what it told before this many searches is on the disk by then or counted.
TELLS_EVERY = 2_000
AGAIN = 4_000
MAX_GROWTH_MB = 40.0
PAGE = [f"p{place}" for place in range(1, 6)]


def main(
    requests: Annotated[int, typer.Option(help="Searches, over all workers.")] = 1_000_000,
    workers: Annotated[int, typer.Option(help="Processes.")] = 4,
    kills: Annotated[int, typer.Option(help="How often a worker is killed with SIGKILL.")] = 8,
) -> None:
    """Serve, kill, count."""
    with tempfile.TemporaryDirectory(prefix="exposures-") as folder:
        found = run(Path(folder), requests=requests, workers=workers, kills=kills)
    for name, value in found.items():
        typer.echo(f"{name:32}{value:>14,}")
    if not holds(found):
        raise typer.Exit(1)


def holds(found: dict[str, Any]) -> bool:
    """Exactly one each, none lost, memory bounded."""
    exact = found["marks"] == found["sessions"] and found["exposures"] == found["searches"]
    clean = not (found["wrong variant"] or found["unreadable"] or found["dropped"])
    return exact and clean and found["memory growth MB"] <= MAX_GROWTH_MB


def run(folder: Path, *, requests: int, workers: int, kills: int) -> dict[str, Any]:
    """What was found in the files, against what was served."""
    share = -(-requests // workers)
    begun = time.perf_counter()
    served = [Worker(folder, number, share) for number in range(workers)]
    for kill in range(kills):
        victim = served[kill % workers]
        victim.wait_until(share * (kill // workers + 1) // (kills // workers + 2))
        victim.kill_and_restart()
    for worker in served:
        worker.wait()
    took_s = time.perf_counter() - begun
    finish_left_open(folder)
    return count(folder) | {
        "sessions": len({session(number) for number in range(share * workers)}),
        "searches": share * workers,
        "kills": sum(worker.kills for worker in served),
        "dropped": sum(worker.dropped for worker in served),
        "memory growth MB": max(worker.growth_mb for worker in served),
        "searches/s, all workers": int(share * workers / took_s),
    }


class Worker:
    """A process that serves its part of the searches, and tells how far it is."""

    def __init__(self, folder: Path, number: int, share: int) -> None:
        self._command = [sys.executable, "-m", "benchmarks.exposures", "work", str(folder)]
        self._first, self._last = number * share, (number + 1) * share
        self._at = self._first
        self.kills = 0
        self.dropped = 0
        self.growth_mb = 0.0
        self._start(self._first)

    def wait_until(self, done: int) -> None:
        """Until it has served so many."""
        while self._at - self._first < done and self._listen():
            pass

    def kill_and_restart(self) -> None:
        """As a host's process manager would; what was not answered is asked again."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self.kills += 1
        self._start(max(self._first, self._at - AGAIN))

    def wait(self) -> None:
        """To its end."""
        while self._listen():
            pass
        self._process.stdout.close()  # type: ignore[union-attr]
        if self._process.wait():
            raise RuntimeError("a worker failed")

    def _start(self, at: int) -> None:
        command = [*self._command, str(at), str(self._last)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def _listen(self) -> bool:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            return False
        told = json.loads(line)
        self._at = told["at"]
        self.dropped += told["dropped"]
        self.growth_mb = max(self.growth_mb, told["growth_mb"])
        return True


def work(folder: Path, first: int, last: int) -> None:
    """Serve these searches; every fiftieth twice."""
    experiment = load_experiments()["uniecs-recall"]
    log = JsonLinesEventLog(folder, rotate_bytes=16 * 1024 * 1024)
    settings = Settings(_env_file=None, log_assigned=True)  # type: ignore[call-arg]
    plugin = RecallPlugin([], experiment, log, settings=settings)
    at_first_mb = 0.0
    for number in range(first, last):
        unit_id, session_id = session(number)
        for _ in range(2 if number % 50 == 0 else 1):
            plugin.recall(QUERY, PAGE, unit_id=unit_id, session_id=session_id, query_id=f"q{number}", now=NOW)
        if number % TELLS_EVERY == TELLS_EVERY - 1:
            while log.waiting > TELLS_EVERY:  # a host has pauses, this loop has none
                time.sleep(0.01)
            at_first_mb = at_first_mb or memory_mb()
            tell(number + 1, growth_mb=memory_mb() - at_first_mb)
    plugin.close()
    tell(last, dropped=log.dropped)


def tell(at: int, *, dropped: int = 0, growth_mb: float = 0.0) -> None:
    """One line for whoever started this worker."""
    sys.stdout.write(json.dumps({"at": at, "dropped": dropped, "growth_mb": round(growth_mb, 1)}) + "\n")
    sys.stdout.flush()


def session(number: int) -> tuple[str, str]:
    """Who searches, in which visit: some shoppers come twice."""
    visit = number // SEARCHES_PER_SESSION
    return f"用户-{visit * 2 // 3}", f"visit-{visit}"


def count(folder: Path) -> dict[str, Any]:
    """What the files say after deduping by id."""
    experiment = load_experiments()["uniecs-recall"]
    found: dict[str, Any] = {"lines": 0, "unreadable": 0, "wrong variant": 0}
    named = {
        "marks": "(unit_id, session_id, experiment, phase)",
        "exposures": "(unit_id, session_id, query_id)",
    }
    with connect("events") as connection:
        for kind, names in named.items():
            files = f"{folder}/{kind}-*.jsonl"
            connection.execute(
                f"CREATE TEMP TABLE {kind} AS FROM read_json($files, format = 'newline_delimited')",
                {"files": files},
            )
            lines, ids, each = connection.execute(
                f"SELECT count(*), count(DISTINCT event_id), count(DISTINCT {names}) FROM {kind}"  # noqa: S608
            ).fetchone()
            found[kind] = ids if ids == each else -1
            found["lines"] += lines
            raw = sum(path.read_bytes().count(b"\n") for path in folder.glob(f"{kind}-*.jsonl"))
            found["unreadable"] += raw - lines
            found["wrong variant"] += sum(
                assign(experiment, unit_id, now=NOW).variant != variant
                for unit_id, variant in connection.execute(
                    f"SELECT DISTINCT unit_id, variant FROM {kind}"  # noqa: S608
                ).fetchall()
            )
    return found


def memory_mb() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        typer.run(main)
