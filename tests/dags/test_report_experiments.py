"""The weekly DAG, under a real Airflow, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments.definition import load_experiments
from tests.experiments.logs import shop, write_archive

from .patience import PATIENT

pytestmark = pytest.mark.airflow

LOOK = """
import json, sys
from dags.report_experiments import report_experiments
dag = report_experiments()
heavy = [name for name in ("torch", "pymilvus", "duckdb", "scipy", "onnxruntime") if name in sys.modules]
print(json.dumps({
    "tasks": {it.task_id: [sorted(it.downstream_task_ids), it.retries, it.owner] for it in dag.tasks},
    "timeouts": all(task.execution_timeout for task in dag.tasks),
    "tags": sorted(dag.tags), "doc": bool(dag.doc_md), "catchup": dag.catchup, "heavy": heavy,
    "schedule": type(dag.timetable).__name__ + " " + dag.timetable.summary,
    "outlets": [asset.name for asset in dag.get_task("write_report").outlets],
}))
"""

CHOSEN = """
import dags.report_experiments as file
from airflow.sdk.exceptions import AirflowFailException
from experiments.settings import Settings
for named in (None, "aa", "nobody"):
    file.get_current_context = lambda: {"params": {"experiment": named}}
    try:
        print(file._chosen(Settings()).name)
    except AirflowFailException as error:
        print("not tried again:", error)
"""


def airflow(tmp_path: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with an Airflow of its own under `tmp_path`."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    mine |= PATIENT | {"AIRFLOW_HOME": str(tmp_path / "airflow"), "REPORTS": str(tmp_path / "elsewhere")}
    return subprocess.run([sys.executable, *argv], env=mine, capture_output=True, text=True, check=False)


def test_the_weekly_dag_scans_then_writes_and_is_light_to_parse(tmp_path: Path) -> None:
    """Every Monday morning, over whole weeks; Airflow parses the file again for each task."""
    found = airflow(tmp_path, "-W", "ignore", "-c", LOOK)
    assert 0 == found.returncode, found.stderr

    assert {
        "tasks": {"collect_aggregates": [["write_report"], 3, "search"], "write_report": [[], 3, "search"]},
        "timeouts": True,
        "tags": ["experiments", "report"],
        "doc": True,
        "catchup": False,
        "heavy": [],
        "schedule": "CronDataIntervalTimetable 0 6 * * 1",
        "outlets": ["experiment_report"],
    } == json.loads(found.stdout.splitlines()[-1])


def test_the_report_is_of_the_experiment_that_decides_where_the_run_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shop with one of its own has no other defined, and what is not defined is not tried again."""
    packaged = (Path(experiments.__file__).parent / "definitions" / "uniecs-recall.toml").read_text("utf-8")
    for name in ("ours", "aa"):
        text = packaged.replace('name = "uniecs-recall"', f'name = "{name}"')
        text = text.replace('name = "recall"', f'name = "{name}"')  # a layer of its own
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EXPERIMENTS", str(tmp_path))
    monkeypatch.setenv("RECALL_EXPERIMENT", "ours")

    found = airflow(tmp_path, "-W", "ignore", "-c", CHOSEN)

    assert 0 == found.returncode, found.stderr
    assert [
        "ours",
        "aa",
        "not tried again: no experiment 'nobody'; defined here: aa, ours; name one of these, "
        "or let EXPERIMENTS name the folder that has it",
    ] == found.stdout.splitlines()[-3:]


@pytest.mark.slow
def test_a_run_by_hand_writes_the_page_of_the_week_it_is_asked_for(tmp_path: Path) -> None:
    """Logs in, a page, its numbers and its aggregates out; nothing half-written stays."""
    experiment = load_experiments()["uniecs-recall"]
    logs = write_archive(tmp_path / "logs", *shop(experiment, units=200, seed=17))
    truth = tmp_path / "truth.json"
    truth.write_text('{"ctr": 0.0}', encoding="utf-8")
    conf = {"logs": str(logs), "output": str(tmp_path / "pages"), "until": "2026-01-19", "truth": str(truth)}
    done = airflow(tmp_path, "-m", "dags", "run", "report_experiments", "--conf", json.dumps(conf))
    assert 0 == done.returncode, done.stdout + done.stderr

    names = [
        f"uniecs-recall-2026-01-18{ending}"
        for ending in (".aggregates.json", ".html", ".json", ".md", ".slack.json")
    ]
    assert names == sorted(path.name for path in (tmp_path / "pages").iterdir())
    numbers = json.loads((tmp_path / "pages" / names[2]).read_text(encoding="utf-8"))
    assert 2 == numbers["window"]["looks_done"]
    assert 0.0 == numbers["truth"]["ctr"]
    assert "look 2 of 4" in (tmp_path / "pages" / names[1]).read_text(encoding="utf-8")
