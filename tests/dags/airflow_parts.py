"""Run the parts of an Airflow: `python airflow_parts.py LOGS PART [WORD ...] [-- PART ...]`, until SIGTERM.

Each part is the process that `airflow PART WORD ...` would be. To import Airflow
takes four seconds; it is done once here, and each part is a fork of this program.
"""

import ctypes
import importlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

IMPORTED_ONCE = [
    "airflow.__main__",
    "airflow.api_fastapi.execution_api.app",
    "airflow.dag_processing.manager",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
]
_PR_SET_PDEATHSIG = 1


def main(logs: Path, parts: list[list[str]]) -> None:
    """Make the database, start the parts, end them all when one ends or SIGTERM comes."""
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    from airflow import settings
    from airflow.utils import db

    db.initdb()
    settings.dispose_orm()  # no connection is shared with a child
    children = [start(words, logs / f"{words[0]}.log") for words in parts]

    def end(*_: FrameType | int | None) -> None:
        for child in children:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # with the tasks that it started
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    (logs / "parts.pids").write_text(" ".join(map(str, children)), encoding="utf-8")
    os.wait()
    end()


def start(words: list[str], log: Path) -> int:
    """Fork, and become `airflow WORDS`."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from airflow import settings
    from airflow.__main__ import main as airflow

    settings.configure_orm()
    sys.argv = ["airflow", *words]
    try:
        airflow()
    finally:
        os._exit(1)


if __name__ == "__main__":
    asked = " ".join(sys.argv[2:]).split(" -- ")
    main(Path(sys.argv[1]), [one.split() for one in asked])
