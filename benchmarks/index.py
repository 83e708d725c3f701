"""How fast the index is loaded and searched, with the recall beside every latency.

    python -m benchmarks.index                     # milvus-lite 20k, a real Milvus 50k
    python -m benchmarks.index --lite 20000,50000 --real 50000,100000,200000 --out index.json
    python -m benchmarks.index --lite "" --real 1000000 --questions 200   # 8 GB; nearly all of it loading

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
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.index_lines import Line, growth, keep, line, ratio, table
from product_index.milvus import MilvusVectorDatabase, MilvusVectorStore
from product_index.vector_store import CollectionSpec, Filter, Fingerprint, ProductVector

Vectors = NDArray[np.float32]

DIMENSION = 256
LIMIT = 100
# About as many clusters as a shop of this size has kinds of goods.
ROWS_PER_CLUSTER = 100
SPEC = CollectionSpec(dimension=DIMENSION, model_id="benchmark", preprocess_version="1")
STORES = {"lite": "milvus-lite, FLAT", "real": "Milvus 2.3.5, HNSW"}
# One product of fifty is of this brand.
RARE, RARE_EVERY = Filter(brand="rare"), 50
# For one request, and twelve times that for an index: a million rows on a busy machine.
TIMEOUT_S = 300.0


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
        brand="rare" if number % RARE_EVERY == 0 else "common",
        price=float(number % 500),
    )  # fmt: skip


def exact(vectors: Vectors, asked: Vectors, *, every: int = 1) -> list[set[str]]:
    """The nearest among each so-manieth, by looking at all of them; eight questions at a time, for memory."""
    allowed, found = vectors[::every], list[set[str]]()
    count = min(LIMIT, len(allowed))
    for start in range(0, len(asked), 8):
        scores = asked[start : start + 8] @ allowed.T
        nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        found += [{f"p{place * every:08}" for place in line} for line in nearest]
    return found


def recall(found: list[list[str]], truth: list[set[str]]) -> float:
    """The mean share of the truth that was found."""
    return float(
        np.mean([len(set(ours) & right) / len(right) for ours, right in zip(found, truth, strict=True)])
    )


def say(what: str) -> None:
    """Tell what goes on, and since when: a million rows are a long wait."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


def timed(ask: Callable[[Vectors], list[str]], asked: Vectors) -> tuple[list[list[str]], NDArray[np.float64]]:
    """The answers, and how long each took, in ms."""
    found, waits = [], []
    for vector in asked:
        began = time.perf_counter()
        found.append(ask(vector))
        waits.append((time.perf_counter() - began) * 1000)
    return found, np.array(waits)


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


def load_milvus(
    store: MilvusVectorStore, vectors: Vectors, *, folder: Path, pid: int | None
) -> dict[str, float | None]:
    """Fill it and build its index; return rows a second, and what a million would hold in memory and on disk.

    Args:
        store: empty.
        vectors: to load.
        folder: where its data lie.
        pid: of the server, to see its memory; None where it is this process.
    """
    rows, before, on_disk = len(vectors), resident_bytes(pid), disk_bytes(folder)
    began = time.perf_counter()
    for start in range(0, rows, 1_000):
        store.fill([row(number, vectors[number]) for number in range(start, min(start + 1_000, rows))])
        if start and start % max(1_000, rows // 10) == 0:
            say(f"{start:,} of {rows:,} rows are written")
    say("all rows are written, their index is built")
    store.flush()
    return {
        "load_rows_per_s": round(rows / (time.perf_counter() - began), 1),
        "memory_mb_per_million": round((resident_bytes(pid) - before) / rows) if pid else None,
        "disk_mb_per_million": round((disk_bytes(folder) - on_disk) / rows),
    }


def ask_milvus(
    name: str,
    store: MilvusVectorStore,
    vectors: Vectors,
    asked: Vectors,
    truth: list[set[str]],
    loaded: dict[str, float | None],
) -> list[Line]:
    """Ask it through the adapter and bare, the questions in turn; what is rare besides."""

    def ours(vector: Vectors, where: Filter | None = None) -> list[str]:
        return [hit.product_id for hit in store.search(vector[None], limit=LIMIT, where=where)[0]]

    def bare(vector: Vectors) -> list[str]:
        return bare_search(store, vector)

    rows, truth_filtered = len(vectors), exact(vectors, asked, every=RARE_EVERY)
    timed(ours, asked[:5])  # the first ones pay for connections and caches
    our_waits, bare_waits, our_lists, bare_lists = [], [], [], []
    for number, vector in enumerate(asked):  # in turn, so that a busy moment of the machine hits both
        for mine in (True, False) if number % 2 else (False, True):  # and each is the first as often
            (found,), (wait,) = timed(ours if mine else bare, vector[None])
            (our_lists if mine else bare_lists).append(found)
            (our_waits if mine else bare_waits).append(wait)
    filtered, filtered_waits = timed(lambda one: ours(one, RARE), asked)
    found_filtered = recall(filtered, truth_filtered)
    return [
        line(name, "ours", rows, np.array(our_waits), recall=recall(our_lists, truth),
             recall_filtered=found_filtered, **ratio(np.array(our_waits), np.array(bare_waits)), **loaded),
        line(name, "ours, 1 in 50 passes", rows, filtered_waits, recall=found_filtered),
        line(name, "bare pymilvus", rows, np.array(bare_waits), recall=recall(bare_lists, truth)),
    ]  # fmt: skip


def ask_exact(vectors: Vectors, asked: Vectors, truth: list[set[str]]) -> Line:
    """NumPy over everything: what an index has to beat."""

    def ask(vector: Vectors) -> list[str]:
        scores = vectors @ vector
        best = np.argpartition(-scores, LIMIT - 1)[:LIMIT]
        return [f"p{place:08}" for place in best[np.argsort(-scores[best])]]

    found, waits = timed(ask, asked)
    return line("exact (NumPy)", "in process", len(vectors), waits, recall=recall(found, truth))


def load_faiss(vectors: Vectors) -> tuple[Any, float] | None:
    """The same graph without a server, and rows a second; None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    say("the same graph is built by faiss")
    began = time.perf_counter()
    index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)
    index.hnsw.efSearch = max(128, 2 * (LIMIT + 16))
    return index, round(len(vectors) / (time.perf_counter() - began), 1)


def ask_faiss(index: Any, asked: Vectors, truth: list[set[str]], **loaded: float) -> Line:
    """What a search costs without a server around it."""
    found, waits = timed(
        lambda vector: [f"p{place:08}" for place in index.search(vector[None], LIMIT)[1][0]], asked
    )
    return line("faiss HNSW", "in process", index.ntotal, waits, recall=recall(found, truth), **loaded)


def measure(kind: str, size: int, asked_for: int) -> list[Line]:
    """All that is measured at one size: first what takes long, then the questions, close together."""
    vectors = clustered(size)
    asked = questions(vectors, asked_for)
    with ExitStack() as stack:
        folder, server = Path(stack.enter_context(tempfile.TemporaryDirectory())), None
        uri = str(folder / "index.db")
        if kind == "real":
            from tests.product_index.real_milvus import start_real_milvus

            uri, server = start_real_milvus(folder)
        if server is not None:
            stack.callback(server.stop)
        database = MilvusVectorDatabase(uri, timeout_s=TIMEOUT_S)
        stack.callback(database.close)
        store = database.create(f"benchmark_{size}", SPEC)
        loaded = load_milvus(store, vectors, folder=folder, pid=None if server is None else server.pid)
        beside = load_faiss(vectors)
        say("the truth is looked up")
        truth = exact(vectors, asked)
        say("questions are asked")
        lines = ask_milvus(STORES[kind], store, vectors, asked, truth, loaded)
        lines.append(ask_exact(vectors, asked, truth))
        if beside is not None:
            lines.append(ask_faiss(beside[0], asked, truth, load_rows_per_s=beside[1]))
        database.drop(store.name)
    return lines


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
                keep(asked_for.out, lines, dimension=DIMENSION, limit=LIMIT, questions=asked_for.questions)
    print(growth(lines))


if __name__ == "__main__":
    main()
