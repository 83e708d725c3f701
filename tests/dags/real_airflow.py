"""A whole Airflow for tests and benchmarks: API server, scheduler, DAG processor, each a process on loopback.

Its home is a folder, its database SQLite, its executor the local one: every
task is a process. It serves DAGs of this checkout, unpaused. Nothing outside
loopback can reach it, and it is ended by pid.
"""

import json
import os
import secrets
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.processes import Process, free_port, log_end, port_answers, start_process, wait_until

from .patience import PATIENT

ROOT = Path(__file__).parents[2]
_DONE = ("success", "failed")
# Airflow calls the process of a task by this and its id.
_TITLE = "airflow worker -- "


@dataclass(frozen=True, slots=True, kw_only=True)
class Airflow:
    """One that runs.

    Attributes:
        home: its AIRFLOW_HOME; the logs of its parts and of its tasks are under `logs/`.
        port: of its API server.
        environment: of every part, for commands beside it.
    """

    home: Path
    port: int
    environment: Mapping[str, str]
    _process: Process = field(repr=False)

    def runs(self, dag_id: str) -> dict[str, str]:
        """State by run id, in order of creation."""
        return dict(self.ask("SELECT run_id, state FROM dag_run WHERE dag_id = ? ORDER BY id", dag_id))

    def tasks(self, dag_id: str, run_id: str) -> dict[str, tuple[str, int]]:
        """State and number of tries by task, mapped ones as `name[index]`."""
        rows = self.ask(
            "SELECT task_id, map_index, state, try_number FROM task_instance WHERE dag_id = ? AND run_id = ?",
            dag_id,
            run_id,
        )
        return {
            f"{name}[{index}]" if index >= 0 else name: (state, tries) for name, index, state, tries in rows
        }

    def working(self, dag_id: str) -> list[tuple[str, int]]:
        """(task, pid) of the tasks that are at work: the processes that do it, not those that watch them."""
        rows = self.ask("SELECT id, task_id FROM task_instance WHERE dag_id = ?", dag_id)
        names = {str(key).replace("-", ""): name for key, name in rows}
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                title, pid = path.read_bytes().rstrip(b"\0").decode(errors="replace"), int(path.parent.name)
                name = names.get(title.removeprefix(_TITLE).replace("-", ""))
                if name and title.startswith(_TITLE) and self._process.pid in _ancestors(pid):
                    found.append((name, pid))
        return found

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Ask for a run; return its id. Needs the whole API (`rest`)."""
        answer = self._post(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return str(answer["dag_run_id"])

    def backfill(self, dag_id: str, *, first: str, last: str, at_once: int) -> None:
        """Ask for the runs of a span of days. Needs the whole API (`rest`)."""
        self._post(
            "/api/v2/backfills",
            {"dag_id": dag_id, "from_date": first, "to_date": last, "max_active_runs": at_once,
             "reprocess_behavior": "none", "run_backwards": False, "dag_run_conf": {}},
        )  # fmt: skip

    def wait_for_runs(self, dag_id: str, *, count: int, timeout_s: float) -> dict[str, str]:
        """Wait until so many runs are done, and return the state of all."""
        deadline = time.monotonic() + timeout_s
        while sum(state in _DONE for state in self.runs(dag_id).values()) < count:
            if self._process.exit_code is not None or time.monotonic() > deadline:
                logs = sorted((self.home / "logs").glob("*.log"))
                parts = "\n".join(f"{log.name}:\n{log_end(log)}" for log in logs)
                raise TimeoutError(
                    f"{dag_id}: {self.runs(dag_id) or 'no run'} after {timeout_s:g} s\n{parts}"
                )
            time.sleep(0.1)
        return self.runs(dag_id)

    def log_of(self, task: str) -> str:
        """All that the tries of a task have logged, in every run."""
        files = sorted((self.home / "logs").glob(f"dag_id=*/run_id=*/task_id={task}/**/attempt=*.log"))
        return "".join(path.read_text(encoding="utf-8") for path in files)

    def ask(self, sql: str, *values: Any) -> list[Any]:
        """Look into its database."""
        with suppress(sqlite3.OperationalError):  # not made yet, or locked for a moment
            held = sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=60)
            try:
                return held.execute(sql, values).fetchall()
            finally:
                held.close()
        return []

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(10):
            try:
                token = self._ask_api("/auth/token")["access_token"]
                return self._ask_api(path, json.dumps(body).encode(), Authorization=f"Bearer {token}")
            except urllib.error.HTTPError as error:
                if error.code == 409 and attempt:  # it was done after all, only not answered
                    return {}
                # 404: the DAG has not been read yet; 500, 503: another part had SQLite locked.
                if error.code not in {404, 500, 503} or attempt == 9:
                    raise
            time.sleep(2)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask_api(self, path: str, body: bytes | None = None, **headers: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json", **headers}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 - loopback
            said: dict[str, Any] = json.loads(answer.read())
            return said


@contextmanager
def start_airflow(
    home: Path, settings: Mapping[str, str], *, dags: Sequence[str], rest: bool = False, at_once: int = 2
) -> Iterator[Airflow]:
    """Start all parts on an empty home; end them, and what they left, afterwards.

    Args:
        home: a folder that does not exist yet.
        settings: added to the environment: those of the rooms, and of Airflow.
        dags: those that it serves.
        rest: with the API for people; without, only what tasks need, which starts sooner.
        at_once: tasks at work at the same time.
    """
    folder = home / "dags"
    folder.mkdir(parents=True)
    for name in dags:
        (folder / f"{name}.py").symlink_to(ROOT / "dags" / f"{name}.py")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = {
        **kept,
        **PATIENT,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(at_once),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # nobody else is on this loopback port
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        # On a busy machine five seconds are not much for SQLite's lock.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    logs = home / "logs"
    logs.mkdir()
    api = ["api-server", *([] if rest else ["--apps", "execution"])]
    parts = [*api, "--", "dag-processor", "--", "scheduler", "--skip-serve-logs"]
    command = [sys.executable, str(Path(__file__).with_name("airflow_parts.py")), str(logs), *parts]
    process = start_process("airflow", command, logs / "airflow.log", environment)
    try:
        wait_until(lambda: port_answers(port), process, timeout_s=900)
        with suppress(OSError):  # the first question takes it seconds: let it be ours, not a task's
            urllib.request.urlopen(f"http://127.0.0.1:{port}/execution/health/ping", timeout=300).close()
        yield Airflow(home=home, port=port, environment=environment, _process=process)
    finally:
        process.stop()


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
