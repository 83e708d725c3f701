"""Forget, once a week, the removed products that no replay can bring back any more.

A tombstone keeps late old changes out. It may go when every change that was made before it has left the topic
and nobody will read an older archive into the index: keep `keep_days` longer than the topic's retention.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag, get_current_context, task

from dags._index import hopeless_is_not_retried, open_index, settings_of_run
from dags._manners import manners, pool


@dag(
    schedule="0 4 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=manners(),
    params={
        "keep_days": Param(
            30, type="number", minimum=1, description="Longer than any replay reaches back, in days."
        ),
    },
    tags=["product-index", "weekly"],
    doc_md=__doc__,
)
def purge_tombstones() -> None:
    """Old tombstones out of the index, weekly."""
    forget()


@task(max_active_tis_per_dag=1, pool=pool("milvus_write"))
def forget() -> int:
    """Forget them in what is served; return how many."""
    settings = settings_of_run()
    before = datetime.now(UTC) - timedelta(days=get_current_context()["params"]["keep_days"])
    with hopeless_is_not_retried(), open_index(settings) as database:
        forgotten = database.open(settings.product_alias).forget_tombstones(before=before)
    print(f"{forgotten} tombstones from before {before:%Y-%m-%d} forgotten")
    return forgotten


purge_tombstones()
