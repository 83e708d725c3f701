"""The lines of benchmarks.index: how they are told, how they grow, how they are kept."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the table."""

    store: str
    how: str
    rows: int
    p50_ms: float
    p99_ms: float
    recall: float
    load_rows_per_s: float | None = None
    recall_filtered: float | None = None
    of_bare: float | None = None
    of_bare_spread: tuple[float, float] | None = None
    memory_mb_per_million: float | None = None
    disk_mb_per_million: float | None = None


def line(store: str, how: str, rows: int, waits: NDArray[np.float64], **fields: Any) -> Line:
    """A row of the table out of raw waits."""
    p50, p99 = (round(float(np.percentile(waits, at)), 2) for at in (50, 99))
    return Line(store=store, how=how, rows=rows, p50_ms=p50, p99_ms=p99, **fields)


def ratio(ours: NDArray[np.float64], bare: NDArray[np.float64]) -> dict[str, Any]:
    """Ours over bare at the median, and the least and most of ten parts; the questions went in turn."""
    parts = [
        round(float(np.median(one) / np.median(other)), 3)
        for one, other in zip(np.array_split(ours, PARTS), np.array_split(bare, PARTS), strict=True)
    ]
    return {
        "of_bare": round(float(np.median(ours) / np.median(bare)), 3),
        "of_bare_spread": (min(parts), max(parts)),
    }


def told(one: Line) -> str:
    """A ratio and its spread."""
    if one.of_bare is None or one.of_bare_spread is None:
        return ""
    return f"{one.of_bare} ({one.of_bare_spread[0]} to {one.of_bare_spread[1]})"


def table(lines: list[Line]) -> str:
    """Markdown."""
    names = (
        "store",
        "how",
        "rows",
        "loaded rows/s",
        "p50 ms",
        "p99 ms",
        "recall@100",
        "of bare (least, most)",
        "MB per million",
        "MB on disk",
    )
    body = [
        f"| {one.store} | {one.how} | {one.rows:,} | {one.load_rows_per_s or ''} | {one.p50_ms} "
        f"| {one.p99_ms} | {one.recall:.4f} | {told(one)} | {one.memory_mb_per_million or ''} "
        f"| {one.disk_mb_per_million or ''} |"
        for one in lines
    ]
    return "\n".join([f"| {' | '.join(names)} |", "|---|---|" + "--:|" * 8, *body])


def growth(lines: list[Line]) -> str:
    """How time grows from one size to the next, as a power of the number of rows: 1 is in proportion."""
    said = []
    for one, more in pairwise(sorted(lines, key=lambda line: (line.store, line.how, line.rows))):
        if (one.store, one.how) != (more.store, more.how) or more.rows == one.rows:
            continue
        powers = [f"p50 as n^{power(one, more, one.p50_ms, more.p50_ms):.2f}"]
        if one.load_rows_per_s and more.load_rows_per_s:
            took = [each.rows / (each.load_rows_per_s or 1) for each in (one, more)]
            powers.append(f"loading as n^{power(one, more, *took):.2f}")
        if one.memory_mb_per_million and more.memory_mb_per_million:
            held = [each.rows * (each.memory_mb_per_million or 0) for each in (one, more)]
            powers.append(f"memory as n^{power(one, more, *held):.2f}")
        said.append(f"{one.store}, {one.how}: {one.rows:,} -> {more.rows:,} rows, {', '.join(powers)}")
    return "\n".join(said)


def power(one: Line, more: Line, less: float, greater: float) -> float:
    """The power of the number of rows that leads from the one figure to the other."""
    return float(np.log(greater / less) / np.log(more.rows / one.rows))


def keep(path: Path, lines: list[Line], **about: int) -> None:
    """Keep the figures as JSON."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    told = {
        "at": datetime.now(UTC).isoformat(),
        "machine": machine,
        **about,
        "lines": [asdict(one) for one in lines],
    }
    path.write_text(json.dumps(told, indent=1))
