"""The nightly rebuild under a real scheduler: from its schedule, and through the death of a task."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from tests.dags.real_airflow import start_airflow

DAG_ID = "refresh_product_index"
# Past what any machine takes: it hangs.
PATIENCE_S = 1_800.0


@pytest.mark.airflow
@pytest.mark.milvus
@pytest.mark.slow
def test_a_scheduled_run_whose_loader_is_killed_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """The scheduler starts it, tries the killed task again, and every row is there to the bit."""
    pytest.importorskip("airflow", reason="Airflow is not installed; install the extra 'dags'")
    from product_index.embedding import spec_of
    from product_index.milvus import MilvusVectorDatabase

    rows = [
        {"id": f"p{n}", "title": f"mug number {n}", "version": 3, "updated_at": "2026-11-20T12:00:00Z"}
        for n in range(40)
    ]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {
        "MILVUS_URI": str(tmp_path / "index.db"),
        "UNIECS_MODEL": "hash",
        "CATALOGUE": str(tmp_path),
        "REBUILD_FOLDER": str(tmp_path / "rebuild"),
        "DAGS_RETRY_DELAY_S": "0",
    }
    with start_airflow(tmp_path / "airflow", settings, dags=[DAG_ID]) as airflow:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not {"success", "failed"} & set(airflow.runs(DAG_ID).values()):
            at_work = dict(airflow.working(DAG_ID))
            if "load" in at_work:
                os.kill(at_work["load"], signal.SIGKILL)
                break
            time.sleep(0.05)
        # At 02:00 UTC the run of the next night is there, too.
        run_id, state = next(iter(airflow.wait_for_runs(DAG_ID, count=1, timeout_s=PATIENCE_S).items()))
        tasks = airflow.tasks(DAG_ID, run_id)

    assert (True, "success") == (run_id.startswith("scheduled__"), state)
    assert {"load": 2} == {name: tries for name, (_, tries) in tasks.items() if tries != 1}
    assert {"success"} == {state for state, _ in tasks.values()}
    encoder = HashEncoder()
    wanted = InMemoryVectorDatabase().create("wanted", spec_of(encoder))
    for page in open_catalogue(tmp_path).pages():
        apply_changes(page, encoder, wanted, NoPictures(), now=page[0].occurred_at)
    database = MilvusVectorDatabase(settings["MILVUS_URI"])
    served = database.open("products")
    assert [served.name] == database.names()
    for one, other in zip(next(wanted.rows()), next(served.rows()), strict=True):
        assert (one.product_id, one.fingerprint) == (other.product_id, other.fingerprint)
        assert one.vector.tobytes() == other.vector.tobytes()
    database.close()
