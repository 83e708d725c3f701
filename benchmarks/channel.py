"""What the channel adds to a bare search: cached text queries on a real Milvus, with the recall beside.

    python -m benchmarks.channel                       # 100,000 products, 200 asked for
    python -m benchmarks.channel --rows 20000 --rounds 4
    python -m benchmarks.channel --apart               # Milvus on processors of its own

Four ways ask the same questions in turn: bare pymilvus (same index, same effort,
same fields), the store's adapter, the channel in this process, the channel in
a sidecar behind its socket. Every text was asked before, so the embedding is
in the cache; what is left is the channel's own work. Exact search in NumPy on
the same vectors is the truth.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.index import SPEC, clustered, questions, row
from product_index.encoder import Content, Vectors
from product_index.milvus import MilvusVectorDatabase, MilvusVectorStore
from product_index.vector_store import Hit
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.query import ChannelRequest, Query
from recall_plugin.sidecar.client import SidecarChannel, SidecarLine
from recall_plugin.sidecar.giving_way import give_way
from recall_plugin.sidecar.running import run_sidecar
from tests.product_index.real_milvus import start_real_milvus

LIMIT = 200
LOAD_ROWS = 10_000
FIELDS = ["product_id", "version", "title", "category", "brand", "price", "in_stock"]

Ask = Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class Asked:
    """An encoder that knows the vectors of a few texts: the n-th question is the text `n`."""

    vectors: Vectors
    model_id: str = SPEC.model_id
    preprocess_version: str = SPEC.preprocess_version
    dimension: int = SPEC.dimension

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """The prepared vectors."""
        return np.stack([self.vectors[int(content.text or 0)] for content in contents])

    def check_picture(self, picture: bytes) -> None:
        """Any is fine: none is asked with."""


def main(
    rows: Annotated[int, typer.Option(help="Products in the index.")] = 100_000,
    asked: Annotated[int, typer.Option(help="Different questions.")] = 500,
    rounds: Annotated[int, typer.Option(help="How often each is asked, by each way.")] = 6,
    apart: Annotated[
        bool, typer.Option(help="Milvus and who asks it on different processors: none waits for the other.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Load, ask, compare."""
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    with tempfile.TemporaryDirectory(prefix="ch-") as folder:
        if apart:
            os.sched_setaffinity(0, processors[:half])  # what is started from here stays there
        uri, server = start_real_milvus(Path(folder) / "milvus")
        if apart:
            os.sched_setaffinity(0, processors[half:])
        try:
            found = measure(uri, Path(folder) / "s", rows=rows, asked=asked, rounds=rounds)
        finally:
            if server is not None:
                server.stop()
    print(f"{rows:,} products x {SPEC.dimension}, limit {LIMIT}, {asked * rounds:,} questions each way")
    for name, figures in found.items():
        print(f"{name:34}" + "  ".join(f"{key} {value:8.3f}" for key, value in figures.items()))
    if out is not None:
        out.write_text(json.dumps({"rows": rows, "limit": LIMIT, "ways": found}, indent=1) + "\n")


def measure(uri: str, path: Path, *, rows: int, asked: int, rounds: int) -> dict[str, dict[str, float]]:
    """p50, p99 in ms, the ratio to bare, and recall, by way."""
    vectors = clustered(rows)
    wanted = questions(vectors, asked)
    database = MilvusVectorDatabase(uri, timeout_s=120)
    store = database.create("channel_benchmark", SPEC)
    for start in range(0, rows, LOAD_ROWS):
        store.upsert([row(number, vectors[number]) for number in range(start, min(rows, start + LOAD_ROWS))])
    store.flush()
    database.switch("channel_products", store.name)

    sidecar = get_context("spawn").Process(target=serve, args=(uri, path, wanted), daemon=True)
    sidecar.start()
    here, there = open_channel(uri, wanted), SidecarChannel("uniecs", SidecarLine(path))
    ways: dict[str, Ask] = {
        "bare pymilvus": lambda number: bare(store, wanted[number]),
        "the store's adapter": lambda number: ids(store.search(wanted[number][None], limit=LIMIT)[0]),
        "channel, in this process": lambda number: find(here, number),
        "channel, in a sidecar": lambda number: find(there, number),
    }
    try:
        return compared(ways, truths(vectors, wanted), asked=asked, rounds=rounds)
    finally:
        sidecar.terminate()
        sidecar.join()
        here.close()


def open_channel(uri: str, wanted: Vectors) -> UniecsChannel:
    """The channel, with an encoder that knows the questions."""
    return UniecsChannel(
        Asked(wanted), lambda: MilvusVectorDatabase(uri, timeout_s=30), alias="channel_products"
    )


def serve(uri: str, path: Path, wanted: Vectors) -> None:
    """A sidecar, in a process of its own, as `python -m recall_plugin sidecar` runs it."""
    give_way()
    run_sidecar(path, lambda _: open_channel(uri, wanted), ["uniecs"], in_flight=64)


def compared(
    ways: dict[str, Ask], truth: list[set[str]], *, asked: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Every question by every way, in turn, so that a busy moment falls on each of them."""
    waits: dict[str, list[float]] = {name: [] for name in ways}
    recall: dict[str, list[float]] = {name: [] for name in ways}
    for name, ask in ways.items():  # caches, connections, code paths
        for number in range(asked):
            answer = ask(number)
            recall[name].append(len(truth[number] & set(answer)) / LIMIT)
    ordered = list(ways.items())
    for turn in range(rounds):
        for number in range(asked):
            for name, ask in ordered[turn % 4 :] + ordered[: turn % 4]:
                began = time.perf_counter()
                ask(number)
                waits[name].append((time.perf_counter() - began) * 1000)
    plain: NDArray[np.float64] = np.array(waits["bare pymilvus"])
    return {
        name: {
            "p50_ms": float(np.percentile(taken, 50)),
            "p99_ms": float(np.percentile(taken, 99)),
            "of_bare_p50": float(np.percentile(taken, 50) / np.percentile(plain, 50)),
            "of_bare_p99": float(np.percentile(taken, 99) / np.percentile(plain, 99)),
            f"recall@{LIMIT}": float(np.mean(recall[name])),
        }
        for name, taken in waits.items()
    }


def find(channel: UniecsChannel | SidecarChannel, number: int) -> list[str]:
    """Ask the channel as the plugin does."""
    request = ChannelRequest(
        query=Query(text=str(number), limit=LIMIT),
        limit=LIMIT,
        deadline_s=time.monotonic() + 30,
        request_id="q",
        unit_id="u",
    )
    answer = channel.find(request)
    while (
        answer.status == "off" or "no sidecar answers" in answer.reason
    ):  # being loaded, or its index being opened
        time.sleep(0.05)
        answer = channel.find(request)
    if answer.status != "ok":
        raise SystemExit(f"the channel is {answer.status}: {answer.reason}")
    return ids(answer.hits)


def ids(hits: Sequence[Hit]) -> list[str]:
    """Their products."""
    return [hit.product_id for hit in hits]


def bare(store: MilvusVectorStore, vector: Vectors) -> list[str]:
    """What a person would write with pymilvus alone: same index, same effort, same fields."""
    client: Any = store._client
    (hits,) = client.search(
        store.name, data=[vector], anns_field="vector", limit=LIMIT, filter="deleted == false",
        output_fields=FIELDS, timeout=30,
        search_params={"metric_type": "COSINE", "params": {"ef": max(128, 2 * (LIMIT + 16))}},
    )  # fmt: skip
    return [hit["entity"]["product_id"] for hit in hits]


def truths(vectors: Vectors, wanted: Vectors) -> list[set[str]]:
    """The nearest by looking at all of them."""
    nearest = np.argpartition(-(wanted @ vectors.T), LIMIT - 1, axis=1)[:, :LIMIT]
    return [{f"p{place:08}" for place in line} for line in nearest]


if __name__ == "__main__":
    typer.run(main)
