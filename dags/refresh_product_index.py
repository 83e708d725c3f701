"""Rebuild the product index from the catalogue, and serve it if it is fit.

1. **begin** takes a snapshot of the catalogue; **list_shards** tells how it was cut;
2. **embed_shard** turns each shard into a file of vectors (mapped; any worker);
3. **load** fills a new collection from the files (one writer);
4. **canary** compares it with what should be in it; a refused one is dropped, and what is served stays;
5. **switch** moves the alias, unless something newer is live already;
6. **drop_old** keeps the collection served before, for `python -m product_index rollback`.

Tasks hand on paths and numbers, never vectors. Each may run twice. Settings: MILVUS_URI, UNIECS_MODEL,
PRODUCT_ALIAS, CATALOGUE, PICTURE_ROOT, REBUILD_FOLDER (see `product_index.settings`); the parameters
below go first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from product_index.settings import Settings
    from product_index.vector_store import VectorDatabase

INDEX = Asset("product_index")


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "search",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=1),
    },
    params={
        "catalogue": Param(
            None, type=["null", "string"], description="Folder of products; CATALOGUE without."
        ),
        "min_coverage": Param(0.95, type="number", minimum=0, maximum=1),
        "min_recall": Param(0.95, type="number", minimum=0, maximum=1),
    },
    tags=["product-index", "nightly"],
    doc_md=__doc__,
)
def refresh_product_index() -> None:
    """Catalogue to index, nightly."""
    plan = begin()
    receipts = embed_shard.partial(plan=plan).expand(shard=list_shards(plan))
    loaded = load(plan, receipts)
    checked = canary(loaded)
    drop_old(switch(checked))


@task
def begin() -> str:
    """Take the snapshot; name the collection, once."""
    from product_index import build, rebuild

    settings = _settings()
    run = get_current_context()["dag_run"]
    with _hopeless_is_not_retried():
        plan = rebuild.begin(
            build.build_catalogue(settings),
            build.build_encoder(settings),
            alias=settings.product_alias,
            folder=settings.rebuild_folder,
            now=run.start_date or datetime.now(UTC),
            seed=run.run_id,
        )
    return str(plan.path)


@task
def list_shards(plan: str) -> list[int]:
    """One number per shard, to map over."""
    from product_index import rebuild

    with _hopeless_is_not_retried():
        return list(range(len(rebuild.read_plan(plan).shards)))


@task(execution_timeout=timedelta(hours=4))
def embed_shard(plan: str, shard: int) -> dict[str, int]:
    """Embed one shard into a file."""
    from product_index import build, rebuild

    settings = _settings()
    with _hopeless_is_not_retried():
        done = rebuild.embed_shard(
            rebuild.read_plan(plan),
            shard,
            build.build_encoder(settings),
            build.build_pictures(settings),
            now=datetime.now(UTC),
        )
    return {"rows": done.rows, "failed": len(done.failed), "pictures_missing": len(done.notes)}


@task(max_active_tis_per_dag=1)
def load(plan: str, receipts: Any) -> str:
    """Fill the new collection; the only writer."""
    from product_index import rebuild

    counts = receipts[:]  # one request; element by element is one each
    print(f"{sum(count['rows'] for count in counts)} rows in {len(counts)} shards")
    with _hopeless_is_not_retried(), _database() as database:
        rebuild.load_shards(rebuild.read_plan(plan), database)
    return plan


@task
def canary(plan: str) -> dict[str, Any]:
    """Check it; drop it if it is not fit, and leave what is served alone."""
    import numpy as np

    from product_index import build, rebuild
    from product_index.canary import Thresholds, check_collection
    from product_index.errors import CanaryRefused

    settings, asked = _settings(), get_current_context()["params"]
    with _hopeless_is_not_retried(), _database() as database:
        planned = rebuild.read_plan(plan)
        try:
            verdict = check_collection(
                planned,
                database.open(planned.collection),
                build.build_encoder(settings),
                build.build_pictures(settings),
                chance=np.random.default_rng(),
                thresholds=Thresholds(min_coverage=asked["min_coverage"], min_recall=asked["min_recall"]),
            )
        except CanaryRefused:
            database.drop(planned.collection)
            raise
    return verdict.as_dict()


@task(max_active_tis_per_dag=1, outlets=[INDEX])
def switch(verdict: dict[str, Any], *, outlet_events: Any = None) -> str:
    """Move the alias; tell those who wait for a new index."""
    from product_index import publish

    with _hopeless_is_not_retried(), _database() as database:
        done = publish.switch(database, _settings().product_alias, verdict["collection"])
    print(f"live: {done.live} ({done.reason})")
    outlet_events[INDEX].extra = {**verdict, "live": done.live, "moved": done.moved}
    return done.live


@task(max_active_tis_per_dag=1)
def drop_old(live: str) -> list[str]:
    """Drop what was served before the one before."""
    from product_index import publish, rebuild

    settings = _settings()
    with _database() as database:
        dropped = publish.drop_old(database, settings.product_alias)
    rebuild.drop_files(settings.rebuild_folder, dropped)
    print(f"live: {live}; dropped: {', '.join(dropped) or 'nothing'}")
    return dropped


def _settings() -> "Settings":
    from pathlib import Path

    from product_index.settings import read_settings

    settings, catalogue = read_settings(), get_current_context()["params"]["catalogue"]
    return settings.model_copy(update={"catalogue": Path(catalogue)}) if catalogue else settings


@contextmanager
def _database() -> "Iterator[VectorDatabase]":
    from product_index.build import build_database

    database = build_database(_settings())
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _hopeless_is_not_retried() -> Iterator[None]:
    """What will fail in the same way again fails at once."""
    from product_index.errors import ProductIndexError, Retryable

    try:
        yield
    except Retryable:
        raise
    except ProductIndexError as error:
        raise AirflowFailException(str(error)) from error


refresh_product_index()
