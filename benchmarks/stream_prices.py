"""Price changes through the consumer, beside what a bare client can do in the same minutes.

A price is compared with what is stored before it is written, or an older change
could replace a newer one. So two bare clients stand beside: one that only
writes, and one that reads and writes as the consumer does, and does nothing else.
And the consumer stands there with a store that costs nothing: what Kafka's client,
decoding and acknowledging take. Where the cores are full, the times add up.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from benchmarks.stream_bench import (
    Bench,
    Cores,
    Counting,
    applying,
    change_of,
    plain,
    repriced,
    table,
    told,
)
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.milvus import MilvusVectorDatabase
from product_index.milvus_rows import FINGERPRINT_FIELDS, KEPT_FIELDS, ROW_FIELDS, TYPES, quoted
from product_index.product import ProductChange
from product_index.receipt import Receipt
from product_index.refresh import ASKED_AT_ONCE, PAGE_PRODUCTS, PAGE_WHOLE_ROWS
from product_index.vector_store import VectorStore

# A client that only writes is asked in each of these; the fastest counts against us.
BARE_BATCHES = (64, 256, 1024)
READ_AND_WRITE = "bare reads and writes, as the consumer's"
NO_STORE = "the consumer, its store costing nothing"
OURS = "price changes through the consumer"

Row = dict[str, Any]


def price_changes(bench: Bench, count: int, turns: int, embed_per_s: dict[str, float]) -> None:
    """Prices: through the consumer, and rows of the same products by bare clients."""
    encoder: Any = Counting(HashEncoder(128))
    with closing(MilvusVectorDatabase(bench.uri)) as database:
        store = database.create(bench.name("green"), spec_of(encoder))
        apply = applying(encoder, store)
        products = [plain(number) for number in range(count)]
        for start in range(0, count, 1024):
            apply([change_of(one, version=1) for one in products[start : start + 1024]])
        rows = stored_rows(bench, store, [one.product_id for one in products])
        writing = {f"bare upserts, {size} rows each": size for size in BARE_BATCHES}
        sides: dict[str, Callable[[], float]] = {
            name: partial(upsert_bare, bench, store, rows, size) for name, size in writing.items()
        }
        sides[READ_AND_WRITE] = partial(read_and_write_bare, bench, store, rows)
        asked = encoder.asked
        found: dict[str, list[float]] = {name: [] for name in [*sides, NO_STORE, OURS]}
        busy: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(turns):
            changes = [repriced(one, version=turn + 2) for one in products]
            consuming = {
                NO_STORE: partial(bench.seconds_for, changes, _all_done),
                OURS: partial(bench.seconds_for, changes, apply),
            }
            ordered = [*sides.items(), *consuming.items()]
            first = turn % len(ordered)  # what one side leaves the store to tidy falls on each of the others
            for name, side in ordered[first:] + ordered[:first]:
                with Cores() as cores:
                    found[name].append(count / side())
                busy[name].append(cores.busy)
    print(f"\nPrice changes, {count} in a turn; the encoder was asked {encoder.asked - asked} times\n")
    table(found)
    print("\ncores busy: " + ", ".join(f"{name} {statistics.median(of):.0%}" for name, of in busy.items()))
    best = max((found[name] for name in writing), key=statistics.median)
    told("price changes : bare upserts, the fastest", found[OURS], best, wanted="0.8")
    told("price changes : bare reads and writes", found[OURS], found[READ_AND_WRITE], wanted="1 at most")
    both = [
        1 / (1 / one + 1 / other) for one, other in zip(found[READ_AND_WRITE], found[NO_STORE], strict=True)
    ]
    told("price changes : bare reads and writes, then the consumer", found[OURS], both, wanted="1")
    told("bare reads and writes : bare upserts", found[READ_AND_WRITE], best, wanted="to know the limit")
    for name, per_s in embed_per_s.items():
        for what, rates in (("price changes", found[OURS]), ("bare upserts, the fastest", best)):
            ratio = statistics.median(rates) / per_s
            print(f"\n{what} : new products through the consumer, {name} = {ratio:.1f} (wanted 10)")


def stored_rows(bench: Bench, store: VectorStore, ids: Sequence[str]) -> list[Row]:
    """The rows as a bare client reads them."""
    store.count()  # loads it
    rows: list[Row] = []
    with bare(bench) as client:
        for start in range(0, len(ids), 1024):
            rows += client.query(store.name, ids=ids[start : start + 1024], output_fields=["*"])
    return [{**row, "vector": np.asarray(row["vector"], dtype=np.float32)} for row in rows]


def upsert_bare(bench: Bench, store: VectorStore, rows: Sequence[Row], size: int) -> float:
    """The client alone writes the rows as they are; the seconds."""
    with bare(bench) as client:
        began_s = perf_counter()
        for start in range(0, len(rows), size):
            client.upsert(store.name, list(rows[start : start + size]), timeout=30)
        return perf_counter() - began_s


def read_and_write_bare(bench: Bench, store: VectorStore, rows: Sequence[Row]) -> float:
    """Pages as the consumer's: so many read strongly at a time, one written meanwhile, packed beforehand.

    Nothing is compared, decided or decoded, and there is no Kafka: what two round trips cost here.
    """
    size = PAGE_PRODUCTS if store.amends else PAGE_WHOLE_ROWS
    names = [name for name in TYPES if not store.amends or name not in KEPT_FIELDS]
    fields = FINGERPRINT_FIELDS if store.amends else ROW_FIELDS
    pages = [rows[start : start + size] for start in range(0, len(rows), size)]
    asked = [f"product_id in [{', '.join(quoted(row['product_id']) for row in page)}]" for page in pages]
    packed = [[_column(name, [row[name] for row in page]) for name in names] for page in pages]
    with (
        bare(bench) as client,
        ThreadPoolExecutor(ASKED_AT_ONCE) as readers,
        ThreadPoolExecutor(1) as writer,
    ):
        sender, context = client._get_connection(), client._generate_call_context()

        def read(where: str) -> int:
            answer = client.query(
                store.name,
                filter=where,
                output_fields=fields,
                strict_float32=True,
                consistency_level="Strong",
            )
            return len(answer)

        def write(page: list[Row]) -> None:
            sender.upsert(store.name, page, context=context, timeout=30, partial_update=store.amends)

        began_s = perf_counter()
        written = [
            writer.submit(write, page)
            for page, _ in zip(packed, _in_order(read, asked, readers), strict=True)
        ]
        for one in written:
            one.result()
        return perf_counter() - began_s


@contextmanager
def bare(bench: Bench) -> Iterator[MilvusClient]:
    """A client of its own; what it does once is in no figure."""
    client = MilvusClient(bench.uri)
    try:
        client.list_collections()
        yield client
    finally:
        client.close()


def _all_done(changes: Sequence[ProductChange]) -> Receipt:
    return Receipt(outcomes={change.product_id: "scalar" for change in changes})


def _in_order(read: Callable[[str], int], asked: Sequence[str], readers: ThreadPoolExecutor) -> Iterator[int]:
    left = iter(asked)
    ahead: deque[Future[int]] = deque(readers.submit(read, where) for where in islice(left, ASKED_AT_ONCE))
    while ahead:
        found = ahead.popleft().result()
        ahead.extend(readers.submit(read, where) for where in islice(left, 1))
        yield found


def _column(name: str, values: list[Any]) -> Row:
    plain_values = [one.tolist() for one in values] if name == "vector" else values
    return {"name": name, "type": DataType[TYPES[name]], "values": plain_values}
