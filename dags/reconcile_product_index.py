"""Set the index beside the catalogue every day, and give the stream what would mend it.

**reconcile** finds products that are missing, stale, stored as they were not said, of another model, or that
the catalogue does not have. All of it is published to the topic of changes: each product keeps its one
writer, and what the stream has learnt since the snapshot wins. Removals are published only from a catalogue
without a bad row, and only up to `max_orphans` of the index. Without KAFKA_BOOTSTRAP it only tells.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags._change_feed import open_feed
from dags._index import hopeless_is_not_retried, open_index, settings_of_run
from dags._manners import manners


@dag(
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=manners(hours=2),
    params={
        "catalogue": Param(
            None, type=["null", "string"], description="Folder of products; CATALOGUE without."
        ),
        "max_orphans": Param(
            0.05, type="number", minimum=0, maximum=1, description="Share of the index that may be removed."
        ),
    },
    tags=["product-index", "daily"],
    doc_md=__doc__,
)
def reconcile_product_index() -> None:
    """Catalogue against index, daily."""
    find_and_publish()


@task(task_id="reconcile", max_active_tis_per_dag=1)
def find_and_publish() -> dict[str, Any]:
    """Find what is wrong and publish it; return the counts."""
    from product_index import build
    from product_index.reconcile import reconcile

    settings = settings_of_run()
    with hopeless_is_not_retried(), open_feed() as feed, open_index(settings) as database:
        store = database.open(settings.product_alias)
        cap = get_current_context()["params"]["max_orphans"]
        found = reconcile(build.build_catalogue(settings), store, max_orphans=cap)
        if feed is not None and found.changes:
            feed.publish(found.changes)
    counts = found.counts() | {"published": 0 if feed is None else len(found.changes)}
    print(", ".join(f"{kind} {count}" for kind, count in counts.items()))
    if found.why:
        print(f"not removed: {found.why}")
    return counts


reconcile_product_index()
