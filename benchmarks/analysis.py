"""What comparing a table costs beside queries written by hand: `python -m benchmarks.analysis [UNITS]`.

One Parquet file of units and several ways through it: ours with every check,
the bare queries for the same moments, tea-tasting where TEA_TASTING names a
Python that has it, and A/A tests from buckets beside A/A tests from rows. Then
200 metrics in 50 segments and 3 variants, from a scan, beside that scan.
Each is run in turn, several times; medians of the ratios are what counts.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from experiments.tables.again import repeat_a_a
from experiments.tables.comparing import compare_scan, compare_table
from experiments.tables.formula import read_formulas
from experiments.tables.table import scan_table

UNITS = 10_000_000
REPEATS = 5

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


TEA = """
import sys, time
import ibis
import tea_tasting as tt
rows = ibis.duckdb.connect().read_parquet(sys.argv[1])
experiment = tt.Experiment(
    ctr=tt.RatioOfMeans("clicks", "searches"),
    revenue=tt.Mean("revenue", covariate="revenue_before"),
    raw=tt.Mean("revenue"),
    split=tt.SampleRatio(),
)
experiment.analyze(rows)
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    experiment.analyze(rows)
    print(time.perf_counter() - began)
"""


def tea_tasting(python: str, file: Path, runs: int) -> list[float]:
    """Seconds of tea-tasting on the same file, its imports not counted; it caps nothing and checks less."""
    done = subprocess.run(
        [python, "-c", TEA, str(file), str(runs)], capture_output=True, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()]


def by_rows(file: Path, runs: int) -> list[Any]:
    """A/A tests the long way: every split reads the rows again."""
    found = []
    with duckdb.connect(":memory:") as connection:
        for run in range(runs):
            query = MOMENTS.format(file=file, cap=100).replace(
                "SELECT variant", f"SELECT md5_number_lower(concat({run}, rowid)) % 2 AS variant"
            )
            found.append(
                connection.execute(
                    query.replace(f"FROM '{file}'", "FROM unit").replace("GROUP BY variant", "GROUP BY 1")
                ).fetchall()
                if run
                else connection.execute(f"CREATE TABLE unit AS SELECT * FROM '{file}'")  # noqa: S608
            )
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def told(name: str, ratios: list[float], plain: list[float]) -> str:
    """A row: median seconds, median ratio and its spread."""
    return f"| {name} | {median(plain):.2f} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"


def wide(folder: Path, units: int) -> None:
    """200 metrics x 50 segments x 3 variants: what the arithmetic costs beside the scan that feeds it."""
    file = folder / "wide.parquet"
    columns = ", ".join(f"CAST(floor(random() * {2 + n}) AS INTEGER) AS c{n}" for n in range(20))
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"COPY (SELECT 'ABC'[1 + CAST(hash(i) % 3 AS INTEGER)] AS variant, 's' || (i % 50) AS segment,"  # noqa: S608
            f" {columns} FROM range({units}) AS r(i)) TO '{file}' (FORMAT parquet)"
        )
    formulas = read_formulas(
        [f"m{i}_{j}=ratio(c{i},c{j})" for i in range(20) for j in range(20) if i != j][:200]
    )
    began = time.perf_counter()
    scan = scan_table(file, variant="variant", formulas=formulas, segments=["segment"])
    scanned = time.perf_counter()
    found = compare_scan(scan, variant="variant", control="A", formulas=formulas, segments=["segment"])
    done = time.perf_counter()
    print(
        f"\n{len(found['comparisons']) + len(found['segments']):,} comparisons of {units:,} units:"
        f" scan {scanned - began:.1f} s, the rest {done - scanned:.1f} s,"
        f" {(done - scanned) / (scanned - began):.2f} of the scan"
    )


def main() -> None:
    units = int(sys.argv[1]) if len(sys.argv) > 1 else UNITS
    python = os.environ.get("TEA_TASTING", "")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "units.parquet"
        with duckdb.connect(":memory:") as connection:
            connection.execute("SELECT setseed(0.5)")
            connection.execute(TABLE.format(units=units, file=file))
        print(f"{units:,} units, {file.stat().st_size / 1e6:,.0f} MB of Parquet\n")
        ours(file)  # imports are paid once
        hand, whole, tea = [], [], []
        for _ in range(REPEATS):
            hand.append(seconds(lambda: by_hand(file)))
            whole.append(seconds(lambda: ours(file)))
            tea += tea_tasting(python, file, 1) if python else []
        print("| way | seconds | beside by hand |\n| --- | --- | --- |")
        print(told("two queries by hand", [1.0], hand))
        print(told("compare, every check", [b / a for a, b in zip(hand, whole, strict=True)], whole))
        if python:
            print(told("tea-tasting, no cap", [b / a for a, b in zip(hand, tea, strict=True)], tea))
            print(f"tea-tasting over ours: {median([b / a for a, b in zip(whole, tea, strict=True)]):.2f}")
        formulas = read_formulas(METRICS[:2])
        buckets = seconds(lambda: repeat_a_a(file, formulas=formulas, runs=1_000))
        rows = seconds(lambda: by_rows(file, 20))
        print(f"\n1,000 A/A from buckets {buckets:.1f} s, 20 A/A from rows {rows:.1f} s")
        wide(Path(folder), min(units, 1_000_000))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
