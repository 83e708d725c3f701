"""Put dead letters back into the topic they came from, each once; started by hand, when the cause is mended.

Older versions cannot win: the index is guarded. A letter that fails again becomes a new dead letter, so this
has no schedule: it would turn for ever around a message that nobody mends. `python -m streaming status` tells
how many wait.
"""

from datetime import UTC, datetime

from airflow.sdk import dag, task

from dags._manners import manners


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=manners(),
    tags=["product-index", "by-hand"],
    doc_md=__doc__,
)
def replay_dead_letters() -> None:
    """What was set aside, back to the stream."""
    put_back()


@task(max_active_tis_per_dag=1)
def put_back() -> int:
    """Put them back; return how many."""
    from streaming import build, dead_letters
    from streaming.settings import read_settings

    settings = read_settings()
    dead = settings.changes_topic + dead_letters.SUFFIX
    build.ensure_topics(settings, [dead])
    # The group of `python -m streaming replay`: what one has put back, the other does not.
    reader = build.kafka_adapter().KafkaTopicReader(
        settings.connection(), [dead], group=f"{settings.consumer_group}-replay"
    )
    try:
        with build.open_sink(settings) as sink:
            count = dead_letters.replay(reader, sink)
    finally:
        reader.close()
    print(f"{count} dead letters put back into {settings.changes_topic}")
    return count


replay_dead_letters()
