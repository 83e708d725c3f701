"""How fast the index is loaded and searched, with the recall beside every latency.

    python -m benchmarks.index                     # milvus-lite 20k, a real Milvus 50k
    python -m benchmarks.index --lite 20000,50000 --real 50000,100000,200000 --out index.json

Vectors lie in clusters, as products do: on random directions every approximate
index looks bad. Each store is asked through the adapter and, the same questions
in turn, through bare pymilvus with the same index and parameters; exact search
in NumPy on the same vectors is the truth, and faiss stands beside it where it
is installed. One process asks, one question at a time. Memory is what the
server's processes hold more than before the load, resident; disk what its
folder does. Each size has a server of its own: what the last one left in memory
would count for the next. What is measured is kept at once, so that a run that
is cut off keeps it.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from product_index.milvus import MilvusVectorDatabase, MilvusVectorStore
from product_index.vector_store import CollectionSpec, Filter, Fingerprint, ProductVector

Vectors = NDArray[np.float32]

DIMENSION = 256
LIMIT = 100
PARTS = 10
# About as many clusters as a shop of this size has kinds of goods.
ROWS_PER_CLUSTER = 100
SPEC = CollectionSpec(dimension=DIMENSION, model_id="benchmark", preprocess_version="1")
STORES = {"lite": "milvus-lite, FLAT", "real": "Milvus 2.3.5, HNSW"}
# One product of fifty is of this brand.
RARE = Filter(brand="rare")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the table."""

    store: str
    how: str
    rows: int
    load_rows_per_s: float | None
    p50_ms: float
    p99_ms: float
    recall: float
    recall_filtered: float | None = None
    of_bare: float | None = None
    of_bare_spread: tuple[float, float] | None = None
    memory_mb_per_million: float | None = None
    disk_mb_per_million: float | None = None


def clustered(rows: int, *, seed: int = 7) -> Vectors:
    """Unit vectors around centres."""
    drawn = np.random.default_rng(seed)
    centres = drawn.standard_normal((max(1, rows // ROWS_PER_CLUSTER), DIMENSION))
    found = np.empty((rows, DIMENSION), dtype=np.float32)
    for start in range(0, rows, 10_000):
        size = min(10_000, rows - start)
        page = centres[drawn.integers(len(centres), size=size)] + 0.7 * drawn.standard_normal(
            (size, DIMENSION)
        )
        found[start : start + size] = page / np.linalg.norm(page, axis=1, keepdims=True)
    return found


def questions(vectors: Vectors, count: int, *, seed: int = 8) -> Vectors:
    """Vectors near products, none equal to one."""
    drawn = np.random.default_rng(seed)
    near = vectors[drawn.choice(len(vectors), count, replace=False)] * np.sqrt(DIMENSION)
    near = near + 0.5 * drawn.standard_normal(near.shape)
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def row(number: int, vector: Vectors) -> ProductVector:
    """A row as the index holds it."""
    return ProductVector(
        product_id=f"p{number:08}",
        vector=vector,
        fingerprint=Fingerprint(
            version=1, occurred_at_ms=1, text_hash="a" * 64, image_digest="b" * 64, scalar_hash="c" * 64,
            model_id=SPEC.model_id, preprocess_version=SPEC.preprocess_version, deleted=False,
        ),
        title=f"product number {number}",
        category=f"category {number % 40}",
        brand="rare" if number % 50 == 0 else "common",
        price=float(number % 500),
    )  # fmt: skip


def exact(vectors: Vectors, asked: Vectors, allowed: NDArray[np.int64]) -> list[set[str]]:
    """The nearest, by looking at all of them."""
    scores = asked @ vectors[allowed].T
    count = min(LIMIT, len(allowed))
    nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    return [{f"p{allowed[place]:08}" for place in line} for line in nearest]


def recall(found: list[list[str]], truth: list[set[str]]) -> float:
    """The mean share of the truth that was found."""
    return float(
        np.mean([len(set(ours) & right) / len(right) for ours, right in zip(found, truth, strict=True)])
    )


def timed(ask: Callable[[Vectors], list[str]], asked: Vectors) -> tuple[list[list[str]], NDArray[np.float64]]:
    """The answers, and how long each took, in ms."""
    found, waits = [], []
    for vector in asked:
        began = time.perf_counter()
        found.append(ask(vector))
        waits.append((time.perf_counter() - began) * 1000)
    return found, np.array(waits)


def line(store: str, how: str, rows: int, waits: NDArray[np.float64], **fields: Any) -> Line:
    """A row of the table out of raw waits."""
    p50, p99 = (round(float(np.percentile(waits, at)), 2) for at in (50, 99))
    return Line(store=store, how=how, rows=rows, p50_ms=p50, p99_ms=p99, **fields)


def bare_search(store: MilvusVectorStore, vector: Vectors) -> list[str]:
    """What a person would write with pymilvus alone: same index, same effort, same fields."""
    params = {} if store._lite else {"ef": max(128, 2 * (LIMIT + 16))}
    (hits,) = store._client.search(
        store.name, data=[vector], anns_field="vector", limit=LIMIT, filter="deleted == false",
        output_fields=["product_id", "version", "title", "category", "brand", "price", "in_stock"],
        search_params={"metric_type": "COSINE", "params": params}, timeout=30,
    )  # fmt: skip
    return [hit["entity"]["product_id"] for hit in hits]


def resident_bytes(pid: int | None) -> int:
    """What the descendants of a process hold in memory; 0 for none."""
    if pid is None:
        return 0
    found, of = 0, [pid]
    while of:
        for task in Path(f"/proc/{of.pop()}/task").glob("*/children"):
            for child in task.read_text().split():
                of.append(int(child))
                said = Path(f"/proc/{child}/status").read_text()
                found += int(next(one for one in said.splitlines() if one.startswith("VmRSS")).split()[1])
    return found * 1024


def disk_bytes(folder: Path) -> int:
    """What lies in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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


def measure_milvus(
    name: str, uri: str, vectors: Vectors, asked: Vectors, *, folder: Path, pid: int | None = None
) -> list[Line]:
    """Load it and ask it, through the adapter and bare, the questions in turn.

    Args:
        name: what people call the store.
        uri: where it is.
        vectors: to load.
        asked: the questions.
        folder: where its data lie.
        pid: of the server, to see its memory; None where it is this process.
    """
    database = MilvusVectorDatabase(uri, timeout_s=120)
    rows, before, on_disk = len(vectors), resident_bytes(pid), disk_bytes(folder)
    began = time.perf_counter()
    store = database.create(f"benchmark_{rows}", SPEC)
    for start in range(0, rows, 1_000):
        store.fill([row(number, vectors[number]) for number in range(start, min(start + 1_000, rows))])
    store.flush()
    loaded = round(rows / (time.perf_counter() - began), 1)
    everything, rare = np.arange(rows), np.arange(0, rows, 50)
    truth, truth_filtered = exact(vectors, asked, everything), exact(vectors, asked, rare)

    def ours(vector: Vectors, where: Filter | None = None) -> list[str]:
        return [hit.product_id for hit in store.search(vector[None], limit=LIMIT, where=where)[0]]

    def bare(vector: Vectors) -> list[str]:
        return bare_search(store, vector)

    timed(ours, asked[:5])  # the first ones pay for connections and caches
    our_waits, bare_waits, our_lists, bare_lists = [], [], [], []
    for number, vector in enumerate(asked):  # in turn, so that a busy moment of the machine hits both
        for mine in (True, False) if number % 2 else (False, True):  # and each is the first as often
            (found,), (wait,) = timed(ours if mine else bare, vector[None])
            (our_lists if mine else bare_lists).append(found)
            (our_waits if mine else bare_waits).append(wait)
    held = (resident_bytes(pid) - before) / rows if pid else None
    lies = (disk_bytes(folder) - on_disk) / rows
    filtered, filtered_waits = timed(lambda one: ours(one, RARE), asked)
    lines = [
        line(name, "ours", rows, np.array(our_waits), load_rows_per_s=loaded, recall=recall(our_lists, truth),
             recall_filtered=recall(filtered, truth_filtered),
             **ratio(np.array(our_waits), np.array(bare_waits)),
             memory_mb_per_million=None if held is None else round(held), disk_mb_per_million=round(lies)),
        line(name, "ours, 1 in 50 passes", rows, filtered_waits, load_rows_per_s=None,
             recall=recall(filtered, truth_filtered)),
        line(name, "bare pymilvus", rows, np.array(bare_waits), load_rows_per_s=None,
             recall=recall(bare_lists, truth)),
    ]  # fmt: skip
    database.drop(store.name)
    database.close()
    return lines


def measure_exact(vectors: Vectors, asked: Vectors) -> Line:
    """NumPy over everything: what an index has to beat."""
    names = [f"p{number:08}" for number in range(len(vectors))]

    def ask(vector: Vectors) -> list[str]:
        scores = vectors @ vector
        best = np.argpartition(-scores, LIMIT - 1)[:LIMIT]
        return [names[place] for place in best[np.argsort(-scores[best])]]

    truth = exact(vectors, asked, np.arange(len(vectors)))
    found, waits = timed(ask, asked)
    return line(
        "exact (NumPy)", "in process", len(vectors), waits, load_rows_per_s=None, recall=recall(found, truth)
    )


def measure_faiss(vectors: Vectors, asked: Vectors) -> Line | None:
    """The same graph in the same process, without a server; None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    began = time.perf_counter()
    index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)
    loaded = round(len(vectors) / (time.perf_counter() - began), 1)
    index.hnsw.efSearch = max(128, 2 * (LIMIT + 16))
    found, waits = timed(
        lambda vector: [f"p{place:08}" for place in index.search(vector[None], LIMIT)[1][0]], asked
    )
    truth = exact(vectors, asked, np.arange(len(vectors)))
    return line(
        "faiss HNSW", "in process", len(vectors), waits, load_rows_per_s=loaded, recall=recall(found, truth)
    )


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


def keep(path: Path, lines: list[Line], asked: int) -> None:
    """Keep the figures as JSON."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    told = {
        "at": datetime.now(UTC).isoformat(),
        "machine": machine,
        "dimension": DIMENSION,
        "limit": LIMIT,
        "questions": asked,
        "lines": [asdict(one) for one in lines],
    }
    path.write_text(json.dumps(told, indent=1))


def measure(kind: str, size: int, asked_for: int) -> list[Line]:
    """All that is measured at one size."""
    vectors = clustered(size)
    asked = questions(vectors, asked_for)
    with tempfile.TemporaryDirectory() as name:
        folder, server = Path(name), None
        uri = str(folder / "index.db")
        if kind == "real":
            from tests.product_index.real_milvus import start_real_milvus

            uri, server = start_real_milvus(folder)
        try:
            pid = None if server is None else server.pid
            lines = measure_milvus(STORES[kind], uri, vectors, asked, folder=folder, pid=pid)
        finally:
            if server is not None:
                server.stop()
    return lines + [one for one in (measure_exact(vectors, asked), measure_faiss(vectors, asked)) if one]


def main() -> None:
    """Measure, print the table, and keep the figures if asked to."""
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("--lite", default="20000", help="sizes on milvus-lite, comma between; empty for none")
    said.add_argument("--real", default="50000", help="sizes on a real Milvus; empty for none")
    said.add_argument("--questions", type=int, default=300)
    said.add_argument("--out", type=Path, help="keep the figures as JSON")
    asked_for = said.parse_args()
    lines: list[Line] = []
    for kind in STORES:
        for size in [int(size) for size in getattr(asked_for, kind).split(",") if size]:
            new = measure(kind, size, asked_for.questions)
            print(table(new), flush=True)
            lines += new
            if asked_for.out:
                keep(asked_for.out, lines, asked_for.questions)
    print(growth(lines))


if __name__ == "__main__":
    main()
