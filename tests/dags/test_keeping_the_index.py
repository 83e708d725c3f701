"""The DAGs that keep the index right between rebuilds: their shape, and a whole run beside a real Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from product_index.catalog import open_catalogue
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from tests.product_index.rows import NOON, change, removal

from .patience import PATIENT

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]
DAGS = ["reconcile_product_index", "purge_tombstones", "replay_dead_letters"]

# One process for all of them: Airflow takes four seconds to come up. While the index is rebuilt, the shop
# goes on: after a task so named, it says what is planned.
RUN_ALL = """
import json, os, sys
from airflow.utils import db
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.listener import get_listener_manager
from pluggy import HookimplMarker
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.kafka import KafkaMessageSink
from tests.product_index.rows import change, removal
db.initdb()
sink = KafkaMessageSink({"bootstrap_servers": [os.environ["KAFKA_BOOTSTRAP"]]})
planned = {
    "begin": [change("p01", version=2, title="while it was built"), removal("p02", version=2), change("new")],
    "canary": [change("p03", version=2, title="after the canary")],
}
class Shop:
    @HookimplMarker("airflow")
    def on_task_instance_success(self, previous_state, task_instance):
        said = [encode_change(one) for one in planned.get(task_instance.task_id, [])]
        sink.send([Outgoing(topic=os.environ["CHANGES_TOPIC"], key=key, value=value) for key, value in said])
get_listener_manager().add_listener(Shop())
for asked in sys.argv[1:]:
    dag_id, _, conf = asked.partition("=")
    dag = DagBag(dag_folder=f"dags/{dag_id}.py").dags[dag_id]
    done = dag.test(run_conf=json.loads(conf or "{}"))
    print("RAN", dag_id, done.state, flush=True)
"""


def test_each_is_owned_described_and_never_runs_beside_itself(read_dags: dict[str, Any]) -> None:
    assert {} == {path: error for path, error in read_dags["errors"].items() if "report" not in path}
    for name in DAGS:
        dag = read_dags["dags"][name]
        assert (1, False) == (dag["runs_at_once"], dag["catchup"])
        assert "product-index" in dag["tags"]
        assert len(dag["doc"]) > 200
        (task,) = dag["tasks"].values()
        assert ("search", 3, True, 1, "default_pool") == tuple(
            task[field] for field in ("owner", "retries", "timed", "at_once", "pool")
        )


@pytest.fixture
def environment(tmp_path: Path, kafka_bootstrap: str, unique_name: Callable[[str], str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **kept,
        **PATIENT,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow' / 'airflow.db'}?timeout=60",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "MILVUS_URI": str(tmp_path / "index.db"),
        "UNIECS_MODEL": "hash",
        "CATALOGUE": str(tmp_path),
        "REBUILD_FOLDER": str(tmp_path / "rebuild"),
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "CHANGES_TOPIC": unique_name("product-changes"),
        "TOPIC_PARTITIONS": "2",
    }


@pytest.mark.milvus
@pytest.mark.kafka
@pytest.mark.slow
def test_what_is_wrong_goes_to_the_topic_and_what_is_set_aside_comes_back(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A product is missing, one an orphan, one long gone, one set aside; a rebuild, while products change."""
    from product_index.milvus import MilvusVectorDatabase
    from streaming.change_log import Outgoing
    from streaming.events import decode_change, encode_change
    from streaming.kafka import KafkaMessageSink, KafkaTopicReader, ensure_topics

    connection = {"bootstrap_servers": [environment["KAFKA_BOOTSTRAP"]]}
    topic, now = environment["CHANGES_TOPIC"], datetime.now(UTC)
    lines = [
        json.dumps({"id": f"p{n:02}", "title": f"mug {n}", "version": 1, "updated_at": NOON.isoformat()})
        for n in range(40)
    ]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    ensure_topics(connection, [topic, f"{topic}.dead"], partitions=2)
    sink = KafkaMessageSink(connection)
    key, value = encode_change(change("set-aside"))
    sink.send([Outgoing(topic=f"{topic}.dead", key=key, value=value)])
    sink.close()
    encoder, pictures = HashEncoder(), NoPictures()
    database = MilvusVectorDatabase(environment["MILVUS_URI"])
    store = database.create("products_by_hand", spec_of(encoder))
    database.switch("products", "products_by_hand")
    for page in open_catalogue(tmp_path).pages():
        kept = [one for one in page if one.product_id != "p07"]
        apply_changes([*kept, change("orphan", version=3)], encoder, store, pictures, now=now)
    for name, days in (("long-gone", 60), ("just-gone", 0)):
        apply_changes([removal(name)], encoder, store, pictures, now=now - timedelta(days=days))
    database.close()

    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *DAGS, "refresh_product_index"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip

    for name in (*DAGS, "refresh_product_index"):
        assert f"RAN {name} success" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    reader = KafkaTopicReader(connection, [topic], group=f"{topic}-test")
    for partition in reader.partitions():
        reader.seek(partition, 0)
    said: dict[str, bool] = {}
    while len(said) < 7 and (page := reader.poll(timeout_s=60.0, max_messages=9)):
        said |= {one.product_id: one.is_removal for one in map(decode_change, page)}
    reader.close()
    late = {"p01": False, "p02": True, "new": False, "p03": False}
    assert {"set-aside": False, "p07": False, "orphan": True} | late == said
    database = MilvusVectorDatabase(environment["MILVUS_URI"])
    held = database.open("products_by_hand").fingerprints(["long-gone", "just-gone", "orphan"])
    assert {"just-gone": True, "orphan": False} == {key: one.deleted for key, one in held.items()}
    live = database.open("products")
    titles = {
        row.product_id: row.title for page in live.rows() for row in page if not row.fingerprint.deleted
    }
    assert 41 == live.count() == len(titles), "one is new, one is gone, one is told again since the catalogue"
    assert "set-aside" in titles
    assert ("while it was built", "after the canary", "a new") == tuple(
        titles[key] for key in ("p01", "p03", "new")
    )
    assert "p02" not in titles
    assert "products_by_hand" != live.name
    database.close()
