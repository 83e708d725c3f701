"""What comparing a table costs beside queries written by hand: `python -m benchmarks.analysis`.

One Parquet file of units, and three ways through it in the same process: ours
with every check, the bare queries for the same moments, and A/A tests from
buckets beside A/A tests from rows. Ratios are what counts; seconds are this
machine's.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from experiments.again import repeat_a_a
from experiments.comparing import compare_table
from experiments.formula import read_formulas

UNITS = 10_000_000
REPEATS = 3

TABLE = """
COPY (
    SELECT CASE WHEN hash(i) % 2 = 0 THEN 'A' ELSE 'B' END AS variant,
           1 + CAST(-6 * ln(1 - random()) AS INTEGER) AS searches,
           CAST(floor(random() * 3) AS INTEGER) AS clicks,
           CASE WHEN random() < 0.1 THEN round(exp(3 + 0.8 * sqrt(-2 * ln(1 - random()))
                * cos(6.283185 * random())), 2) ELSE 0.0 END AS revenue,
           round(-20 * ln(1 - random()), 2) AS revenue_before
    FROM range({units}) AS r(i)
) TO '{file}' (FORMAT parquet)
"""

# By hand: the cap, then the same moments for CTR, revenue with its covariate, and revenue capped and raw.
CAP = "SELECT quantile_cont(revenue, 0.999) FROM '{file}' WHERE revenue > 0"
MOMENTS = """
SELECT variant, count(*),
       favg(clicks), favg(searches), covar_pop(clicks, clicks), covar_pop(clicks, searches),
       covar_pop(searches, searches),
       favg(revenue), favg(revenue_before), covar_pop(revenue, revenue), covar_pop(revenue, revenue_before),
       covar_pop(revenue_before, revenue_before),
       favg(least(revenue, {cap})), covar_pop(least(revenue, {cap}), least(revenue, {cap}))
FROM '{file}' GROUP BY variant
"""

METRICS = ["ctr=ratio(clicks,searches)", "revenue=mean(revenue)", "capped=mean(revenue)"]


def ours(file: Path) -> dict[str, Any]:
    """The whole command, checks and text included."""
    formulas = read_formulas(METRICS, covariates=["revenue=revenue_before"], caps=["capped=0.999"])
    return compare_table(file, variant="variant", control="A", formulas=formulas)


def by_hand(file: Path) -> list[Any]:
    """Two queries, nothing checked, nothing computed from them."""
    with duckdb.connect(":memory:") as connection:
        (cap,) = connection.execute(CAP.format(file=file)).fetchall()[0]
        return connection.execute(MOMENTS.format(file=file, cap=cap)).fetchall()


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    units = int(sys.argv[1]) if len(sys.argv) > 1 else UNITS
    with TemporaryDirectory() as folder:
        file = Path(folder) / "units.parquet"
        with duckdb.connect(":memory:") as connection:
            connection.execute("SELECT setseed(0.5)")
            connection.execute(TABLE.format(units=units, file=file))
        print(f"{units:,} units, {file.stat().st_size / 1e6:,.0f} MB of Parquet\n")
        ours(file)  # imports are paid once
        hand, whole = fastest(lambda: by_hand(file)), fastest(lambda: ours(file))
        print("| way | seconds | beside by hand |\n| --- | --- | --- |")
        print(f"| two queries by hand | {hand:.2f} | 1.00 |")
        print(f"| compare, every check | {whole:.2f} | {whole / hand:.2f} |", flush=True)
        formulas = read_formulas(METRICS[:2])
        buckets = fastest(lambda: repeat_a_a(file, formulas=formulas, runs=1_000))
        print(f"| 1,000 A/A from buckets | {buckets:.2f} | {buckets / hand:.2f} |")
        print(f"| 20 A/A from rows (20 x by hand) | {20 * hand:.2f} | 20.00 |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
