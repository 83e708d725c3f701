"""What comparing a table costs beside queries written by hand: `python -m benchmarks.analysis [UNITS]`.

One Parquet file of units and several ways through it: ours with every check,
queries for the same moments by hand, tea-tasting where TEA_TASTING names a
Python that has it, and A/A tests from buckets beside A/A tests from rows. Then
200 metrics in 50 segments and 3 variants, from a scan, beside that scan.

Each way has the same metrics, the cap by a pooled quantile among them, and all
cores. They take turns, the first of them too; what counts is the median of the
ratios within a turn, by the clock and, where others load the machine, by CPU.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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
# With sums that are compensated; as most would write it; and with sums of squares, which lose digits.
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

PLAIN = """
SELECT variant, count(*),
       avg(clicks), avg(searches), var_samp(clicks), covar_samp(clicks, searches), var_samp(searches),
       avg(revenue), avg(revenue_before), var_samp(revenue), covar_samp(revenue, revenue_before),
       var_samp(revenue_before), avg(least(revenue, {cap})), var_samp(least(revenue, {cap}))
FROM '{file}' GROUP BY variant
"""
SQUARES = """
SELECT variant, count(*),
       sum(clicks), sum(searches), sum(clicks * clicks), sum(clicks * searches), sum(searches * searches),
       sum(revenue), sum(revenue_before), sum(revenue * revenue), sum(revenue * revenue_before),
       sum(revenue_before * revenue_before), sum(least(revenue, {cap})),
       sum(least(revenue, {cap}) * least(revenue, {cap}))
FROM '{file}' GROUP BY variant
"""

METRICS = ["ctr=ratio(clicks,searches)", "revenue=mean(revenue)", "capped=mean(revenue)"]


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, and of CPU in all threads."""

    wall_s: float
    cpu_s: float


def ours(file: Path) -> dict[str, Any]:
    """The whole command, checks and text included."""
    formulas = read_formulas(METRICS, covariates=["revenue=revenue_before"], caps=["capped=0.999"])
    return compare_table(file, variant="variant", control="A", formulas=formulas)


def by_hand(file: Path, moments: str = PLAIN) -> list[Any]:
    """Two queries, nothing checked, nothing computed from them."""
    with duckdb.connect(":memory:") as connection:
        (cap,) = connection.execute(CAP.format(file=file)).fetchall()[0]
        found: list[Any] = connection.execute(moments.format(file=file, cap=cap)).fetchall()
        return found


# The cap and the experiment as its own guide writes them, from a connection of its own each time.
TEA = """
import resource, sys, time
import ibis
import tea_tasting as tt
def once(capped):
    rows = ibis.duckdb.connect().read_parquet(sys.argv[1])
    metrics = dict(
        ctr=tt.RatioOfMeans("clicks", "searches"),
        revenue=tt.Mean("revenue", covariate="revenue_before"),
        raw=tt.Mean("revenue"),
        split=tt.SampleRatio(),
    )
    if capped:
        cap = rows.filter(rows.revenue > 0).revenue.quantile(0.999).execute()
        rows = rows.mutate(capped=ibis.least(rows.revenue, cap))
        metrics["capped"] = tt.Mean("capped")
    tt.Experiment(**metrics).analyze(rows)
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
for line in sys.stdin:
    began, used = time.perf_counter(), cpu()
    once(line.strip() == "capped")
    print("\\nspent", time.perf_counter() - began, cpu() - used, flush=True)
"""


class TeaTasting:
    """tea-tasting on the same file, in a process of its own that has imported all it needs."""

    def __init__(self, python: str, file: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-c", TEA, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def spent(self, cap: str) -> Spent:
        """One analysis, `capped` or not."""
        out, back = self._process.stdin, self._process.stdout
        if out is None or back is None:
            raise RuntimeError("the process has no pipes")
        print(cap, file=out, flush=True)
        # What else is on its output is a progress bar.
        answer = next(line.split() for line in back if line.startswith("spent"))
        return Spent(*map(float, answer[1:]))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


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


def spent(work: Callable[[], object]) -> Spent:
    """What it took."""
    began, used = time.perf_counter(), cpu_s()
    work()
    return Spent(time.perf_counter() - began, cpu_s() - used)


def cpu_s() -> float:
    """Of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def told(name: str, ways: dict[str, list[Spent]], base: str) -> str:
    """A row: median seconds, and the ratio to another way turn by turn, by the clock and by CPU."""
    cells = [name]
    for kind in ("wall_s", "cpu_s"):
        mine, theirs = ([getattr(it, kind) for it in ways[way]] for way in (name, base))
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        cells += [f"{median(mine):.2f}", f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
    return f"| {' | '.join(cells)} |"


def compare_ways(file: Path, python: str, repeats: int) -> None:
    """All ways in turn, as tables."""
    by: dict[str, Callable[[], object]] = {
        "by hand": lambda: by_hand(file),
        "by hand, compensated sums": lambda: by_hand(file, MOMENTS),
        "by hand, sums of squares": lambda: by_hand(file, SQUARES),
        "compare, every check": lambda: ours(file),
    }
    ways: dict[str, list[Spent]] = {name: [] for name in by}
    tea = TeaTasting(python, file) if python else None
    for turn in range(repeats + 1):
        for name, work in by.items():
            took = spent(work)
            if turn:  # imports are paid once
                ways[name].append(took)
        if tea:
            for cap in ("capped", "no cap"):
                took = tea.spent(cap)
                if turn:
                    ways.setdefault(f"tea-tasting, {cap}", []).append(took)
    if tea:
        tea.close()
    for base in ["by hand", *(["compare, every check"] if python else [])]:
        print(f"\n| way | seconds | beside {base} | CPU | beside {base} |\n{'| --- ' * 5}|")
        for name in ways:
            print(told(name, ways, base))


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
    kept: dict[str, Any] = {}
    scanning = spent(
        lambda: kept.update(scan=scan_table(file, variant="variant", formulas=formulas, segments=["segment"]))
    )
    rest = spent(
        lambda: kept.update(
            compare_scan(
                kept["scan"], variant="variant", control="A", formulas=formulas, segments=["segment"]
            )
        )
    )
    print(
        f"\n{len(kept['comparisons']) + len(kept['segments']):,} comparisons of {units:,} units:"
        f" scan {scanning.wall_s:.1f} s, the rest {rest.wall_s:.1f} s,"
        f" {rest.wall_s / scanning.wall_s:.2f} of the scan"
        f" (CPU {scanning.cpu_s:.1f} s, {rest.cpu_s:.1f} s, {rest.cpu_s / scanning.cpu_s:.2f})"
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
        compare_ways(file, python, REPEATS)
        formulas = read_formulas(METRICS[:2])
        buckets = spent(lambda: repeat_a_a(file, formulas=formulas, runs=1_000))
        rows = spent(lambda: by_rows(file, 20))
        print(
            f"\n1,000 A/A from buckets {buckets.wall_s:.1f} s, 20 A/A from rows {rows.wall_s:.1f} s"
            f" (CPU {buckets.cpu_s:.1f} s, {rows.cpu_s:.1f} s)"
        )
        for size in sorted({units // 10, units}):  # the scan grows with the units, the rest does not
            wide(Path(folder), size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
