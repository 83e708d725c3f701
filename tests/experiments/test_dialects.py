"""The one query on real Spark gives what it gives here."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.definition import Experiment
from experiments.errors import InvalidData
from experiments.scan import unit_query
from experiments.scan.dialects import STEPS, spark_statements
from experiments.warehouse import connect

from .logs import exposure, outcome, shop, write_archive

sqlglot = pytest.importorskip("sqlglot", reason="SQLGlot is not installed: uniecs-online[spark]")


def parameters(experiment: Experiment) -> dict[str, Any]:
    start = int(experiment.start.timestamp() * 1_000_000)
    day = timedelta(days=1) // timedelta(microseconds=1)
    return {
        "experiment": experiment.name,
        "start_us": start,
        "until_us": start + 28 * day,
        "every_us": 7 * day,
        "attribution_us": 7 * day,
        "variants": [variant.name for variant in experiment.variants],
    }


def test_every_statement_has_no_parameter_and_no_word_of_duckdbs_left(experiment: Experiment) -> None:
    """What Spark is asked is complete; a missing parameter is a sentence."""
    statements = dict(spark_statements(parameters(experiment)))

    assert ["exposure", "search", "unit", "outcome", "unit_week"] == list(statements)
    for text in statements.values():
        for word in ("$", "EPOCH_US", "ASOF", "ISFINITE", " HASH("):
            assert word not in text
    with pytest.raises(InvalidData, match=r"needs \$experiment"):
        list(spark_statements({}))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Spark in this process, two threads."""
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: uniecs-online[spark]")
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_and_duckdb_give_the_same_unit_weeks(
    spark: Any, experiment: Experiment, tmp_path: Path
) -> None:
    """Row for row: repeats, crossed units, late and early outcomes among them."""
    exposures, outcomes = shop(experiment, units=200, seed=9)
    exposures += [dict(exposures[0]), exposure(experiment, "shopper-0", "treatment", hours=5)]
    exposures += [exposure(experiment, "shopper-0", "control", hours=6)]
    exposures += [exposure(experiment, "nan", "control", hours=7, latency_ms=float("nan"))]
    outcomes += [outcome(experiment, "shopper-1", "click", hours=-5), dict(outcomes[0])]
    outcomes += [outcome(experiment, "nan", "order", hours=8, revenue=12.5)]
    logs = write_archive(tmp_path, exposures, outcomes)
    given = parameters(experiment)

    with connect() as connection:
        for kind in ("exposure", "outcome"):
            files = [str(it) for it in (logs / f"{kind}s").glob("*/*.parquet")]
            connection.read_parquet(files, hive_partitioning=False).create_view(f"{kind}_log")
            spark.read.parquet(*files).createOrReplaceTempView(f"{kind}_log")
        for step in STEPS:
            query = getattr(unit_query, step)
            connection.execute(query, {name: it for name, it in given.items() if f"${name}" in query})
        here = connection.execute("SELECT * FROM unit_week ORDER BY ALL").fetchall()
        fates = connection.execute("SELECT fate, count(*) FROM outcome GROUP BY ALL ORDER BY ALL").fetchall()
    for name, text in spark_statements(given):
        spark.sql(text).createOrReplaceTempView(name)
    there = [tuple(row) for row in spark.sql("SELECT * FROM unit_week").collect()]
    counted = spark.sql("SELECT fate, count(*) FROM outcome GROUP BY fate").collect()

    assert len(here) > 300
    assert here == sorted(there)
    assert fates == sorted(tuple(row) for row in counted)
