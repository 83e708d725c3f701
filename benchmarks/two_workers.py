"""The nightly rebuild past one machine: two Celery workers share the shards, one loader fills the collection.

    pip install --target DIR --no-deps apache-airflow-providers-celery 'celery<5.7' 'kombu<5.7' amqp
    pip install --target DIR --no-deps billiard vine click-didyoumean click-plugins click-repl
    pip install --target DIR --no-deps prompt_toolkit tzlocal wcwidth
    python -m benchmarks.two_workers --celery DIR [--products 6000]

The same DAG, unchanged; only the executor is another. Scheduler, API server, DAG
processor and two workers are processes of their own that share a folder
(REBUILD_FOLDER), a broker (here SQLite, by Kombu) and a Milvus. On several
machines the folder is a network volume and the broker Redis or RabbitMQ; nothing
else changes.
"""

import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer

from demo.processes import Process, start_process
from demo.stack import start_milvus_lite
from product_index.milvus import MilvusVectorDatabase

DAG_ID = "refresh_product_index"
RUN_TIMEOUT_S = 1_200.0


def worker_name() -> str:
    """What Airflow is to call the machine of a task."""
    return os.environ.get("WORKER_NAME", "scheduler")


def main(
    celery: Annotated[Path, typer.Option(help="folder with the Celery provider")],
    products: Annotated[int, typer.Option(help="in the catalogue; 500 a shard")] = 6_000,
) -> None:
    """Run the DAG from its schedule on two workers, and tell which did what."""
    from tests.dags.real_airflow import ROOT, start_airflow

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="two-workers-")))
        lines = "".join(f"p{n:06},mug number {n}\n" for n in range(products))
        (folder / "products.csv").write_text("id,title\n" + lines, encoding="utf-8")
        server = start_milvus_lite(folder / "index.db", folder / "milvus.log")
        stack.callback(server.stop)
        settings = {
            "MILVUS_URI": server.uri,
            "UNIECS_MODEL": "hash",
            "CATALOGUE": str(folder),
            "REBUILD_FOLDER": str(folder / "rebuild"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(celery.absolute())]),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "benchmarks.two_workers.worker_name",
            "AIRFLOW__CELERY__BROKER_URL": f"sqla+sqlite:///{folder / 'broker.db'}?timeout=60",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+sqlite:///{folder / 'results.db'}?timeout=60",
            # On a busy machine the second that a task may take to be handed over is too short, and it fails.
            "AIRFLOW__CELERY__OPERATION_TIMEOUT": "60",
            "DAGS_RETRY_DELAY_S": "0",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
            "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
        }
        airflow = stack.enter_context(start_airflow(folder / "airflow", settings, dags=[DAG_ID], at_once=8))
        for name in ("worker-a", "worker-b"):
            command = [sys.executable, "-m", "airflow", "celery", "worker", "--celery-hostname", name]
            command += ["--without-mingle", "--without-gossip", "--skip-serve-logs"]
            log = folder / "airflow" / "logs" / f"{name}.log"
            worker = start_process(name, command, log, {**airflow.environment, "WORKER_NAME": name})
            stack.callback(end, worker)
        runs = airflow.wait_for_runs(DAG_ID, count=1, timeout_s=RUN_TIMEOUT_S)
        done = airflow.ask("SELECT task_id, hostname, duration FROM task_instance ORDER BY start_date")
        for (task,) in airflow.ask("SELECT DISTINCT task_id FROM task_instance WHERE state = 'failed'"):
            print(f"{task} has failed:\n{airflow.log_of(task)[-2_000:]}")
        for task in dict.fromkeys(name for name, _, _ in done):
            spread = Counter(host for name, host, _ in done if name == task)
            took = sum(duration or 0.0 for name, _, duration in done if name == task)
            hosts = ", ".join(f"{host} x {count}" for host, count in sorted(spread.items()))
            print(f"{task:12} {hosts:32} {took:6.1f} s")
        database = MilvusVectorDatabase(server.uri)
        count = 0 if database.resolve("products") is None else database.open("products").count()
        database.close()
        print(f"{', '.join(runs.values())}: {count} of {products} products served")
        shared = len({host for name, host, _ in done if name == "embed_shard"})
    raise typer.Exit(0 if (count, shared, set(runs.values())) == (products, 2, {"success"}) else 1)


def end(worker: Process) -> None:
    """End a worker with the children that it keeps for its tasks; they share its group."""
    worker.stop(grace_s=1)  # its own end waits for what may come
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


if __name__ == "__main__":
    typer.run(main)
