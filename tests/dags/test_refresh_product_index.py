"""The nightly rebuild under Airflow: its shape, and whole runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .patience import PATIENT

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]
DAG_ID = "refresh_product_index"


def test_the_dag_reads_like_a_table_of_contents(read_dags: dict[str, Any]) -> None:
    """One after the other; only the embedding is mapped."""
    tasks = read_dags["dags"][DAG_ID]["tasks"]

    assert {} == {path: error for path, error in read_dags["errors"].items() if DAG_ID in path}
    assert {
        "mark": ["begin", "catch_up"],
        "begin": ["take_over"],
        "take_over": ["embed_shard", "list_shards", "load"],
        "list_shards": ["embed_shard"],
        "embed_shard": ["load"],
        "load": ["catch_up", "switch"],
        "catch_up": ["canary"],
        "canary": ["switch"],
        "switch": ["drop_old"],
        "drop_old": [],
    } == {name: task["downstream"] for name, task in tasks.items()}
    assert ["embed_shard"] == [name for name, task in tasks.items() if task["mapped"]]


def test_the_dag_is_owned_described_retried_and_never_runs_beside_itself(read_dags: dict[str, Any]) -> None:
    dag = read_dags["dags"][DAG_ID]

    assert (1, False) == (dag["runs_at_once"], dag["catchup"])
    assert ["nightly", "product-index"] == dag["tags"]
    assert "canary" in dag["doc"]
    for task in dag["tasks"].values():
        assert "default_pool" == task["pool"], "a pool that does not exist is never scheduled"
        assert ("search", 3, True) == (task["owner"], task["retries"], task["timed"])
        assert ("tell_of_failure", 2.0) == (task["on_failure"], task["backoff"])
    assert ["product_index"] == dag["tasks"]["switch"]["outlets"]
    assert ["product_catalogue", "uniecs_encoder"] == dag["assets"]
    writers = ("load", "catch_up", "switch", "drop_old")
    assert [1, 1, 1, 1] == [dag["tasks"][name]["at_once"] for name in writers]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    rows = [{"id": f"p{n}", "title": f"mug number {n}", "category": "cups", "price": n} for n in range(40)]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def environment(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **kept,
        **PATIENT,
        "AIRFLOW_HOME": str(home / "airflow"),
        "MILVUS_URI": str(home / "index.db"),
        "UNIECS_MODEL": "hash",
        "CATALOGUE": str(shop),
        "REBUILD_FOLDER": str(home / "rebuild"),
    }


def command(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def status(environment: dict[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(command(environment, "product_index", "status", "--json").stdout)
    return said


@pytest.mark.milvus
@pytest.mark.slow
def test_a_whole_run_serves_what_it_built_and_a_bad_one_changes_nothing(
    environment: dict[str, str], shop: Path, tmp_path: Path
) -> None:
    """Catalogue to index, nightly; a night with a ruined catalogue changes nothing for shoppers."""
    done = command(environment, "dags", "run", DAG_ID)
    assert 0 == done.returncode, done.stderr
    tasks = ["mark", "begin", "take_over", "list_shards", "embed_shard[0]", "load", "catch_up", "canary"]
    for task in [*tasks, "switch", "drop_old"]:
        assert f"  {task} done in " in done.stdout
    assert 12 == done.stdout.count("\n"), "one line per task and no chatter"
    live = status(environment)["live"]

    rows = [{"id": f"p{n}", "title": "" if n % 2 else "mug"} for n in range(40)]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    refused = command(environment, "dags", "run", DAG_ID, "--conf", json.dumps({"catalogue": str(tmp_path)}))

    assert 1 == refused.returncode
    assert 1 == refused.stderr.count("\n")
    assert "canary: collection" in refused.stderr
    assert "covers 50.0% of 40 products" in refused.stderr
    after = status(environment)
    assert (live, [live]) == (after["live"], [one["collection"] for one in after["collections"]])
    found = command(environment, "product_index", "search", "mug number 7", "--json", "--limit", "1")
    assert "p7" == json.loads(found.stdout)[0]["product_id"]


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["nightly"], "no DAG 'nightly'"),
        ([DAG_ID, "--conf", "{"], "not JSON"),
        ([DAG_ID, "--conf", "[]"], "object"),
    ],
)
def test_a_run_that_cannot_be_started_is_refused_in_one_sentence(
    environment: dict[str, str], words: list[str], pattern: str
) -> None:
    done = command(environment, "dags", "run", *words)

    assert 2 == done.returncode
    assert pattern in done.stderr
    assert 1 == done.stderr.count("\n")
