"""DAGs as Airflow's own processor reads them.

In a process of its own: importing Airflow takes over logging, for every test after it.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .patience import PATIENT

ROOT = Path(__file__).parents[2]

READ_DAGS = """
import json, sys, time
began = time.process_time()
from airflow.dag_processing.dagbag import DagBag
at = time.process_time()
bag = DagBag(dag_folder=sys.argv[1])
cpu_s = {"airflow": at - began, "dags": time.process_time() - at}
def told(task):
    heard = task.on_failure_callback
    heard = heard[0] if isinstance(heard, list) else heard
    return {
        "downstream": sorted(task.downstream_task_ids), "mapped": task.is_mapped, "pool": task.pool,
        "owner": task.owner, "retries": task.retries, "timed": task.execution_timeout is not None,
        "backoff": task.retry_exponential_backoff,
        "on_failure": getattr(heard, "__name__", ""),
        "at_once": task.max_active_tis_per_dag, "outlets": [asset.name for asset in task.outlets],
    }
def assets(timetable):
    return [asset.name for asset in getattr(timetable.asset_condition, "objects", [])]
dags = {
    name: {
        "tags": sorted(dag.tags), "doc": dag.doc_md or "", "catchup": dag.catchup,
        "runs_at_once": dag.max_active_runs, "assets": sorted(assets(dag.timetable)),
        "tasks": {task.task_id: told(task) for task in dag.tasks},
    }
    for name, dag in bag.dags.items()
}
files = [stat.file for stat in bag.dagbag_stats]
told = {"errors": bag.import_errors, "dags": dags, "files": files, "cpu_s": cpu_s}
json.dump(told, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="session")
def read_dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`errors` by file, `files`, `cpu_s`; `dags` by name: tags, doc, catchup, runs_at_once, assets, tasks."""
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is not installed; install the extra 'dags'")
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        **PATIENT,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
    }
    answer = home / "dags.json"
    done = subprocess.run(
        [sys.executable, "-c", READ_DAGS, str(ROOT / "dags"), str(answer)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(answer.read_text())
    return found
