"""Rebuild the product index from the catalogue, and serve it if it is fit.

1. **mark** notes where the stream of changes ends (KAFKA_BOOTSTRAP; without, there is no stream);
2. **begin** takes a snapshot of the catalogue; **list_shards** tells how it was cut;
3. **take_over** keeps the vectors that are served of the same model, so that only what changed is embedded
   (the parameter `full` embeds everything; a change of model does so by itself);
4. **embed_shard** turns each shard into a file of vectors (mapped; any worker);
5. **load** fills a new collection from the files (one writer);
6. **catch_up** brings what changed since the mark, or since the catalogue was written, into it, by the
   gate that the stream uses;
7. **canary** compares it with what should be in it and with what is served; a refused one is dropped,
   and what is served stays;
8. **switch** catches up once more and moves the alias, unless something newer is live already;
9. **drop_old** keeps the collection served before, for `python -m product_index rollback`.

Tasks hand on paths and numbers, never vectors. Each may run twice. Settings: MILVUS_URI, UNIECS_MODEL,
PRODUCT_ALIAS, CATALOGUE, PICTURE_ROOT, REBUILD_FOLDER (see `product_index.settings`), and for the stream
those of `streaming.settings`; the parameters below go first.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, get_current_context, task

from dags._change_feed import open_feed
from dags._index import build_of, hopeless_is_not_retried, open_index, settings_of_run
from dags._manners import CATALOGUE, ENCODER, INDEX, manners, pool
from dags._models import follow, for_build, for_new_build, models_folder


@dag(
    # Every night; when the catalogue's owner says that there is a new one; when another encoder was promoted.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 2 * * *", timezone="UTC"),
        assets=CATALOGUE | ENCODER,
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=manners(),
    params={
        "catalogue": Param(
            None, type=["null", "string"], description="Folder of products; CATALOGUE without."
        ),
        "full": Param(False, type="boolean", description="Embed what did not change, too."),
        "min_coverage": Param(0.95, type="number", minimum=0, maximum=1),
        "min_recall": Param(0.95, type="number", minimum=0, maximum=1),
        "max_shrink": Param(
            0.2, type="number", minimum=0, maximum=1, description="Share of what is served that may be gone."
        ),
        "min_overlap": Param(
            0.5, type="number", minimum=0, maximum=1, description="Share of the served lists to be kept."
        ),
    },
    tags=["product-index", "nightly"],
    doc_md=__doc__,
)
def refresh_product_index() -> None:
    """Catalogue to index, nightly."""
    marks = mark()
    plan = take_over(begin(marks))
    receipts = embed_shard.partial(plan=plan).expand(shard=list_shards(plan))
    loaded = load(plan, receipts)
    checked = canary(catch_up(loaded, marks))
    drop_old(switch(loaded, checked))


@task
def mark() -> dict[str, int] | None:
    """Where the stream ends, before the snapshot; None without a stream."""
    with open_feed() as feed:
        return None if feed is None else feed.mark()


@task(pool=pool("image_load"))
def begin(_marks: dict[str, int] | None) -> str:
    """Take the snapshot; name the collection, once."""
    from product_index import build, rebuild

    settings = settings_of_run()
    run = get_current_context()["dag_run"]
    with hopeless_is_not_retried():
        plan = rebuild.begin(
            build.build_catalogue(settings),
            build.build_encoder(for_new_build(settings)),
            alias=settings.product_alias,
            folder=settings.rebuild_folder,
            now=run.start_date or datetime.now(UTC),
            seed=run.run_id,
        )
    return str(plan.path)


@task
def take_over(plan: str) -> str:
    """Write down what is served, once, for all shards: an embedded folder has one reader."""
    from product_index import publish, rebuild

    settings = settings_of_run()
    with hopeless_is_not_retried(), open_index(settings) as database:
        publish.check_alias(database, settings.product_alias)
        live = database.resolve(settings.product_alias)
        if live is not None and not get_current_context()["params"]["full"]:
            rebuild.take_over(rebuild.read_plan(plan), database.open(live))
    return plan


@task
def list_shards(plan: str) -> list[int]:
    """One number per shard, to map over."""
    from product_index import rebuild

    with hopeless_is_not_retried():
        return list(range(len(rebuild.read_plan(plan).shards)))


@task(execution_timeout=timedelta(hours=4), pool=pool("gpu_embed"))
def embed_shard(plan: str, shard: int) -> dict[str, int]:
    """Embed one shard into a file."""
    from product_index import build, rebuild

    settings = settings_of_run()
    with hopeless_is_not_retried():
        planned = rebuild.read_plan(plan)
        done = rebuild.embed_shard(
            planned,
            shard,
            build.build_encoder(for_build(settings, planned)),
            build.build_pictures(settings),
            now=datetime.now(UTC),
        )
    return {
        "rows": done.rows,
        "reused": done.reused,
        "failed": len(done.failed),
        "pictures_missing": len(done.notes),
    }


@task(max_active_tis_per_dag=1, pool=pool("milvus_write"))
def load(plan: str, receipts: Any) -> str:
    """Fill the new collection; the only writer."""
    from product_index import rebuild

    counts = receipts[:]  # one request; element by element is one each
    rows, reused = (sum(count[kind] for count in counts) for kind in ("rows", "reused"))
    print(f"{rows} rows in {len(counts)} shards, {reused} of them taken over")
    with build_of(plan, settings_of_run()) as (planned, database):
        rebuild.load_shards(planned, database)
    return plan


@task(max_active_tis_per_dag=1, pool=pool("milvus_write"))
def catch_up(plan: str, marks: dict[str, int] | None) -> str:
    """Bring what changed since the catalogue was written into the new collection; still the only writer."""
    from product_index import build
    from product_index.catch_up import begin_at
    from product_index.catch_up import catch_up as bring_up

    settings = settings_of_run()
    with build_of(plan, settings) as (planned, database), open_feed() as feed:
        if feed is not None and marks is not None:
            done = bring_up(
                planned,
                begin_at(planned, marks, feed),
                feed,
                build.build_encoder(for_build(settings, planned)),
                database.open(planned.collection),
                build.build_pictures(settings),
                now=datetime.now(UTC),
            )
            print(f"{len(done.products)} products changed since {planned.catalogue_at:%Y-%m-%d %H:%M} UTC")
    return plan


@task
def canary(plan: str) -> dict[str, Any]:
    """Check it; drop it if it is not fit, and leave what is served alone."""
    import numpy as np

    from product_index import build
    from product_index.canary import Thresholds, check_collection
    from product_index.catch_up import read_caught_up
    from product_index.errors import CanaryRefused

    settings, asked = settings_of_run(), get_current_context()["params"]
    with build_of(plan, settings) as (planned, database):
        caught = read_caught_up(planned)
        live = database.resolve(planned.alias)
        try:
            verdict = check_collection(
                planned,
                database.open(planned.collection),
                build.build_encoder(for_build(settings, planned)),
                build.build_pictures(settings),
                chance=np.random.default_rng(),
                thresholds=Thresholds(
                    **{
                        name: asked[name]
                        for name in ("min_coverage", "min_recall", "max_shrink", "min_overlap")
                    }
                ),
                served=None if live is None else database.open(live),
                changed=frozenset() if caught is None else caught.products,
            )
        except CanaryRefused:
            database.drop(planned.collection)
            raise
    return verdict.as_dict()


@task(max_active_tis_per_dag=1, outlets=[INDEX], pool=pool("milvus_write"))
def switch(plan: str, verdict: dict[str, Any], *, outlet_events: Any = None) -> str:
    """Catch up once more, move the alias, and tell those who wait for a new index."""
    from product_index import build
    from product_index.catch_up import serve

    settings = settings_of_run()
    with build_of(plan, settings) as (planned, database), open_feed() as feed:
        done = serve(
            planned,
            database,
            feed,
            build.build_encoder(for_build(settings, planned)),
            build.build_pictures(settings),
            now=datetime.now(UTC),
        )
        if follow(models_folder(), database.open(done.live).spec.model_id):
            print("the readers' model follows; restart what reads")
    print(f"live: {done.live} ({done.reason})")
    outlet_events[INDEX].extra = {**verdict, "live": done.live, "moved": done.moved}
    return done.live


@task(max_active_tis_per_dag=1, pool=pool("milvus_write"))
def drop_old(live: str) -> list[str]:
    """Drop what was served before the one before, and the files of builds before that."""
    from product_index import publish, rebuild

    settings = settings_of_run()
    alias = settings.product_alias
    with hopeless_is_not_retried(), open_index(settings) as database:
        dropped = publish.drop_old(database, alias)
        kept, before = database.names(), database.resolve(publish.previous_alias(alias))
    rebuild.drop_files(settings.rebuild_folder, alias, before=before, kept=kept)
    print(f"live: {live}; dropped: {', '.join(dropped) or 'nothing'}")
    return dropped


refresh_product_index()
