"""What every DAG has in common: pools that exist, failures that are told, files that cost nothing to read."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[Any]]]:
    """An address on loopback, and what was posted there; `/deaf` answers with 500."""
    heard: list[Any] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/deaf" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", heard
    server.shutdown()
    server.server_close()


FAIL_TWICE = """
import os, types
from dags import _manners
_manners._WEBHOOK_TIMEOUT_S = 600.0
task = types.SimpleNamespace(dag_id="d", task_id="load", map_index=3, run_id="r", try_number=4)
for path in ("/ear", "/deaf"):
    os.environ["FAILURE_WEBHOOK"] = os.environ["WEBHOOK"] + path
    _manners.tell_of_failure({"task_instance": task, "exception": ValueError("disk\\n full")})
"""

MAKE_POOLS = """
import os
from typer.testing import CliRunner
from dags.__main__ import app
early = CliRunner().invoke(app, ["pools"])
from airflow.utils import db
db.initdb()
made, again = (CliRunner().invoke(app, ["pools"]).output for _ in range(2))
os.environ["DAG_POOLS"] = made.rpartition("DAG_POOLS=")[2].strip()
from dags.refresh_product_index import refresh_product_index
print(early.exit_code, "airflow db migrate" in early.output, made.count("made now"), again.count("made now"))
print(*sorted(f"{one.task_id}:{one.pool}" for one in refresh_product_index().tasks if one.pool[:2] != "de"))
"""


def python(code: str, home: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run it in a process of its own: Airflow takes over logging."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DAG"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**kept, "AIRFLOW_HOME": str(home), **more},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def test_a_failure_is_one_line_and_one_post_and_a_deaf_webhook_is_no_other_failure(
    webhook: tuple[str, list[Any]], tmp_path: Path
) -> None:
    done = python(FAIL_TWICE, tmp_path, WEBHOOK=webhook[0])

    assert 0 == done.returncode, done.stderr
    told = {
        "event": "task_failed", "dag_id": "d", "task_id": "load", "map_index": 3, "run_id": "r",
        "try_number": 4, "error": "disk full",
    }  # fmt: skip
    assert [told, told] == webhook[1]
    assert (2, 1) == tuple((done.stdout + done.stderr).count(one) for one in ("task_failed", "not_told"))


def test_pools_are_named_once_they_are_made(tmp_path: Path) -> None:
    """Airflow never starts a task of a pool that does not exist."""
    done = python(MAKE_POOLS, tmp_path)

    assert 0 == done.returncode, done.stderr
    counts, pools = done.stdout.splitlines()[-2:]
    assert "2 True 3 0" == counts
    assert [
        "begin:image_load", "catch_up:milvus_write", "drop_old:milvus_write", "embed_shard:gpu_embed",
        "load:milvus_write", "switch:milvus_write",
    ] == pools.split()  # fmt: skip


def test_to_read_the_dags_costs_next_to_nothing(read_dags: dict[str, Any]) -> None:
    """Airflow reads a file again for every task; helpers and programs are not read at all.

    All of them in a tenth of a second, a thirtieth of what it takes to import Airflow before: said
    as a share, for a second is not the same on every machine.
    """
    assert set(read_dags["dags"]) == {Path(name).stem for name in read_dags["files"]}
    assert read_dags["cpu_s"]["dags"] < read_dags["cpu_s"]["airflow"] / 5
