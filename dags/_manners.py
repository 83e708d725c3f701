"""How every task here behaves: whose it is, how often it is tried, how long it may take, who is told.

A failed task is one line, `task_failed`, in its log, and one POST to FAILURE_WEBHOOK where that is set.
DAGS_RETRY_DELAY_S is the first of the waits, each twice the one before: with the default three retries
outlast three minutes without Milvus.

Pools: see `pool`. The assets are what the DAGs of this folder tell each other of.
"""

import json
import os
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import Asset

# Who exports the catalogue may say so here, for a refresh at once:
# POST /api/v2/assets/events {"asset_id": ...}, or a task with this outlet.
CATALOGUE = Asset("product_catalogue")
ENCODER = Asset("uniecs_encoder")
INDEX = Asset("product_index")
PAIRS = Asset("training_pairs")

# By name: how many tasks may be at it at once, and what it is for.
POOLS = {
    "gpu_embed": (1, "Encoding shards, and training: as many as there are GPUs, or CPUs to spare."),
    "milvus_write": (1, "Writing to the index: one writer per collection, whatever the DAG."),
    "image_load": (4, "Reading catalogues and fetching their pictures: what the hosts of pictures bear."),
}

_WEBHOOK_TIMEOUT_S = 5.0


def manners(*, hours: float = 1) -> dict[str, Any]:
    """The default arguments of a DAG's tasks, each of which may take so many hours."""
    return {
        "owner": "search",
        "retries": 3,
        "retry_delay": timedelta(seconds=float(os.environ.get("DAGS_RETRY_DELAY_S", "30"))),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=hours),
        "on_failure_callback": tell_of_failure,
    }


def pool(name: str) -> str:
    """The pool where DAG_POOLS names it, else the default one, which is always there.

    Airflow never starts a task whose pool does not exist, and only the scheduler's log says why. So pools are
    made first, by `python -m dags pools`, and named then.
    """
    named = os.environ.get("DAG_POOLS", "").split(",")
    return name if name in {one.strip() for one in named} else "default_pool"


def tell_of_failure(context: Any) -> None:
    """One line with fields in the task's log; the same fields to FAILURE_WEBHOOK."""
    import structlog

    log = structlog.get_logger("dags")
    said = what_failed(context)
    log.error("task_failed", **said)
    address = os.environ.get("FAILURE_WEBHOOK", "")
    if not address:
        return
    try:
        post(address, {"event": "task_failed", **said})
    except (OSError, ValueError) as error:  # a deaf webhook is not another failure of the task
        log.warning("failure_not_told", webhook=urlsplit(address).hostname, error=str(error))


def what_failed(context: Any) -> dict[str, Any]:
    """The fields that tell where to look."""
    task = context["task_instance"]
    return {
        "dag_id": task.dag_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
        "run_id": task.run_id,
        "try_number": task.try_number,
        "error": " ".join(str(context.get("exception") or "its process was ended from outside").split()),
    }


def post(address: str, said: dict[str, Any]) -> None:
    """Send it as JSON; any answer below 400 will do."""
    import urllib.request

    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"FAILURE_WEBHOOK is {address!r}, must begin with http:// or https://")
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked
        address, data=json.dumps(said).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_WEBHOOK_TIMEOUT_S):  # noqa: S310
        pass
