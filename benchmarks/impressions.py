"""A hundred million impressions to a report: `python -m benchmarks.impressions [MILLIONS]`.

Logs are made by DuckDB, a file a day, and read as any archive is. What counts
is the memory, which must not grow with the logs; seconds are this machine's.
"""

import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from experiments.analysis import analyse
from experiments.definition import load_experiments
from experiments.metrics import Aggregates
from experiments.report import write_report
from experiments.warehouse import MEMORY, collect

MILLIONS = 100
DAYS = 28

EXPOSURES = """
COPY (
    SELECT 'e' || ({day} * {rows} + i) AS event_id, 'uniecs-recall' AS experiment, unit_id,
           CASE WHEN hash(unit_id) % 2 = 0 THEN 'control' ELSE 'treatment' END AS variant,
           's' AS session_id, 'q' || ({day} * {rows} + i) AS query_id,
           query, 'text' AS query_kind,
           TIMESTAMPTZ '2026-01-05 00:00:00+00' + INTERVAL ({day}) DAY
               + to_microseconds(CAST(86400000000 * random() AS BIGINT)) AS occurred_at,
           [{{'product_id': 'mug', 'position': 1, 'channels': ['base'],
              'rank_per_channel': [{{'channel': 'base', 'rank': 1}}]}}] AS served,
           CAST([] AS VARCHAR[]) AS counterfactual,
           CASE WHEN hash(unit_id) % 2 = 0 THEN NULL ELSE hash(query) % 3 = 0 END AS triggered,
           'assigned' AS reason, false AS degraded, '1' AS index_version, 'm' AS model_id,
           20 + 10 * random() AS latency_ms
    FROM (
        SELECT i, 'u' || CAST(floor({units} * random() ** 2) AS INTEGER) AS unit_id,
               'query ' || CAST(floor(20000 * random() ** 3) AS INTEGER) AS query
        FROM range({rows}) AS r(i)
    )
) TO '{file}' (FORMAT parquet)
"""

# One search in ten is clicked, one click in ten is an order.
OUTCOMES = """
COPY (
    SELECT 'o' || event_id AS event_id, CASE WHEN random() < 0.1 THEN 'order' ELSE 'click' END AS kind,
           unit_id, occurred_at + INTERVAL 20 SECOND AS occurred_at, 'mug' AS product_id, query_id,
           1 AS position,
           round(10 + 40 * random(), 2) AS revenue, 'EUR' AS currency
    FROM '{exposures}' WHERE random() < 0.1
) TO '{file}' (FORMAT parquet)
"""


def make_logs(folder: Path, *, rows_a_day: int, units: int) -> float:
    """An archive; its size in GB."""
    with duckdb.connect(":memory:", config={"memory_limit": "2GB"}) as connection:
        connection.execute("SELECT setseed(0.5)")
        for day in range(DAYS):
            files = {}
            for kind in ("exposures", "outcomes"):
                files[kind] = folder / kind / f"day={day:02d}" / "part-0.parquet"
                files[kind].parent.mkdir(parents=True)
            connection.execute(
                EXPOSURES.format(day=day, rows=rows_a_day, units=units, file=files["exposures"])
            )
            connection.execute(OUTCOMES.format(exposures=files["exposures"], file=files["outcomes"]))
    return sum(it.stat().st_size for it in folder.rglob("*.parquet")) / 1e9


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else MILLIONS
    experiment = load_experiments()["uniecs-recall"]
    with TemporaryDirectory() as place:
        folder = Path(place)
        size = make_logs(
            folder / "logs", rows_a_day=int(millions * 1e6 / DAYS), units=int(millions * 1e6 / 20)
        )
        made = peak_gb()
        began = time.perf_counter()
        aggregates = collect(experiment, folder / "logs")
        scanned = time.perf_counter()
        text = aggregates.to_json()
        result = analyse(experiment, Aggregates.from_json(text))
        write_report(result, folder / "pages")
        done = time.perf_counter()
        units = sum(arm.units for arm in aggregates.arms)
        print(f"{millions:g} million impressions, {units:,} units, {size:.1f} GB of Parquet")
        print(f"scan {scanned - began:.0f} s, from aggregates to the page {done - scanned:.1f} s")
        print(f"aggregates {len(text) / 1e6:.1f} MB")
        print(f"peak memory {peak_gb():.1f} GB (making the logs {made:.1f} GB; the scan may hold {MEMORY})")


if __name__ == "__main__":
    main()
