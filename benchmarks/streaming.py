"""How fast a change reaches the index, and where the time goes: ratios of one run.

    python -m benchmarks.streaming [--items 512] [--open-loop-s 20] [--shared-data ../shared/data]

Real Apache Kafka, real milvus-lite, the encoder that the demo serves. Prints
Markdown tables. Every ratio compares two figures of the same run, on the same
machine, in the same minutes; nothing here is tuned or stored.
"""

import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import structlog
import typer

from benchmarks.chaos import LocalBroker
from benchmarks.retail import retail_changes
from demo.stack import start_milvus_lite
from product_index.content import text_seen
from product_index.embedding import EMBED_BATCH, spec_of
from product_index.encoder import Content, Encoder, HashEncoder, Vectors
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.refresh import Receipt, apply_changes
from product_index.uniecs_encoder import UniecsEncoder
from product_index.vector_store import InMemoryVectorDatabase, VectorStore
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.freshness import Arrival, percentile
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, ensure_topics
from streaming.worker import Pace, Worker

PARTITIONS = 2
REPEATS = 3
KINDS = ("cotton", "steel", "oak", "glass", "wool", "linen", "clay", "paper")
THINGS = ("mug", "lamp", "chair", "scarf", "bowl", "shelf", "clock", "basket")


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, encoder: Encoder) -> None:
        self.asked = 0
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Count, and embed."""
        self.asked += len(contents)
        return self._encoder.embed(contents)


class Bench:
    """A broker, a vector database, and a worker in this process."""

    def __init__(self, bootstrap: str, milvus_uri: str, encoder: Encoder) -> None:
        self.connection: dict[str, Any] = {"bootstrap_servers": [bootstrap]}
        self.uri = milvus_uri
        self.encoder = encoder
        self._topics = 0

    @contextmanager
    def topic(self) -> Iterator[tuple[str, KafkaMessageSink]]:
        """A topic of its own, and a sink."""
        self._topics += 1
        name = f"changes-{self._topics}"
        ensure_topics(self.connection, [name], partitions=PARTITIONS)
        with closing(KafkaMessageSink(self.connection)) as sink:
            yield name, sink

    def consume(
        self, topic: str, apply: Callable[[Sequence[ProductChange]], Receipt], *, until: int
    ) -> tuple[list[Arrival], float]:
        """Work until so many messages are done; seconds from the first batch to the last acknowledgement."""
        arrivals: list[Arrival] = []
        began_s: list[float] = []

        def timed(changes: Sequence[ProductChange]) -> Receipt:
            began_s.append(time.perf_counter())
            return apply(changes)

        with (
            closing(
                KafkaChangeLog(self.connection, [topic], group=f"g-{topic}", session_timeout_s=10)
            ) as log,
            closing(KafkaMessageSink(self.connection)) as sink,
        ):
            worker = Worker(
                changes=log, sink=sink, apply=timed, arrived=arrivals.extend, pace=Pace(batch_wait_s=0.05)
            )
            worker.run(stop=lambda: len(arrivals) >= until)
            return arrivals, time.perf_counter() - began_s[0]


def main(
    items: Annotated[int, typer.Option(min=64, help="Products to embed.")] = 512,
    open_loop_s: Annotated[float, typer.Option(min=1, help="How long the open loop runs.")] = 20.0,
    shared_data: Annotated[Path, typer.Option(help="Where online_retail is.")] = Path("../shared/data"),
    model: Annotated[Path, typer.Option(help="An exported encoder.")] = Path("demo/model"),
) -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder, ExitStack() as stack:
        broker = LocalBroker(Path(folder) / "kafka")
        stack.callback(broker.stop)
        broker.start()
        milvus = start_milvus_lite(Path(folder) / "index.db", Path(folder) / "milvus.log")
        stack.callback(milvus.stop)
        bench = Bench(broker.bootstrap, milvus.uri, UniecsEncoder(model))
        database = stack.enter_context(closing(MilvusVectorDatabase(milvus.uri)))
        store = database.create("green", spec_of(bench.encoder))
        embedded_per_s = rates(bench, store, items)
        open_loop(bench, store, items, rate_per_s=embedded_per_s / 2, for_s=open_loop_s)
        file = shared_data / "online_retail" / "2010-12.csv.gz"
        if file.exists():
            retail(bench, file)
        else:
            print(f"\nonline_retail is not in {shared_data}: not replayed")


def rates(bench: Bench, store: VectorStore, items: int) -> float:
    """Embedding alone and through the consumer; prices through it and bare upserts. Returns the second."""
    apply = applying(bench.encoder, store)
    alone, through, prices, bare = [], [], [], []
    for turn in range(REPEATS):
        made = [change(number, version=1, turn=turn) for number in range(items)]
        alone.append(items / embed_alone(bench.encoder, made))
        through.append(items / published(bench, made, apply))
        priced = [repriced(one, version=2) for one in made]
        prices.append(items / published(bench, priced, apply))
        bare.append(items / upsert_bare(bench.uri, store, made))
    table = {
        "encoder alone": alone,
        "new products through the consumer": through,
        "price changes through the consumer": prices,
        "bare pymilvus upserts of the same rows": bare,
    }
    print(f"| {items} products, {REPEATS} turns | per second, median | spread |\n| --- | --- | --- |")
    for name, found in table.items():
        print(f"| {name} | {statistics.median(found):.0f} | {min(found):.0f} to {max(found):.0f} |")
    middle = {name: statistics.median(found) for name, found in table.items()}
    one, two, three, four = middle.values()
    print("\n| ratio | here | wanted |\n| --- | --- | --- |")
    print(f"| through the consumer : encoder alone | {two / one:.2f} | 0.9 |")
    print(f"| prices : new products | {three / two:.1f} | 10 |")
    print(f"| prices : bare upserts | {three / four:.2f} | 0.8 |")
    return two


def open_loop(bench: Bench, store: VectorStore, items: int, *, rate_per_s: float, for_s: float) -> None:
    """Changes at a fixed rate, whatever the consumer does: texts and prices in turn."""
    apply = applying(bench.encoder, store)
    count = int(rate_per_s * for_s)
    held = {place: change(place, version=1, turn=0) for place in range(items)}
    with bench.topic() as (topic, sink):

        def publish() -> None:
            began_s = time.perf_counter()
            for number in range(count):
                time.sleep(max(0.0, began_s + number / rate_per_s - time.perf_counter()))
                # Texts and prices in turn; a price is of a product whose text came long before.
                place = (number // 2 + (items // 2 if number % 2 else 0)) % items
                if number % 2:
                    told = repriced(held[place], version=100 + number)
                else:
                    told = change(place, version=100 + number, turn=0, edition=1 + number)
                held[place] = told
                sink.send([outgoing(topic, replace(told, occurred_at=datetime.now(UTC)))])

        thread = threading.Thread(target=publish)
        thread.start()
        arrivals, _ = bench.consume(topic, apply, until=count)
        thread.join()
    by_class: dict[str, list[int]] = defaultdict(list)
    for arrival in arrivals:
        by_class[arrival.outcome].append(arrival.freshness_ms)
    print(f"\nOpen loop, {rate_per_s:.0f} changes a second for {for_s:g} s (half of the capacity above)\n")
    print("| class | changes | half within | 99% within |\n| --- | --- | --- | --- |")
    for outcome, found in sorted(by_class.items()):
        print(f"| {outcome} | {len(found)} | {percentile(found, 0.5)} ms | {percentile(found, 0.99)} ms |")


def retail(bench: Bench, file: Path) -> None:
    """Four weeks of a real shop through Kafka; no product twice in one call, so nothing is superseded."""
    rows = list(retail_changes(file))
    encoder = Counting(HashEncoder())
    apply = applying(encoder, InMemoryVectorDatabase().create("green", spec_of(encoder)))  # type: ignore[arg-type]
    calls: list[Receipt] = []

    def one_by_one(changes: Sequence[ProductChange]) -> Receipt:
        calls.extend(apply(wave) for wave in waves(changes))
        outcomes = {key: said for receipt in calls[-len(changes) :] for key, said in receipt.outcomes.items()}
        return Receipt(outcomes=outcomes)

    took_s = published(bench, [row.change for row in rows], one_by_one)
    print(f"\nonline_retail through Kafka: {len(rows)} changes in {took_s:.1f} s\n")
    print("| asked of the encoder | scalar writes | rest |\n| --- | --- | --- |")
    embedded, scalar = sum(one.embedded for one in calls), sum(one.scalar for one in calls)
    print(f"| {encoder.asked} (embedded {embedded}) | {scalar} | {len(rows) - embedded - scalar} |")


def change(number: int, *, version: int, turn: int, edition: int = 0) -> ProductChange:
    """A product of one of many titles."""
    title = f"{KINDS[number % 8]} {THINGS[number // 8 % 8]} no. {number}, edition {turn}.{edition}"
    product = Product(
        product_id=f"p-{turn}-{number}", title=title, description="for every day, easy to clean", price=9.5
    )
    return ProductChange(
        product_id=product.product_id, version=version, occurred_at=datetime.now(UTC), product=product
    )


def repriced(one: ProductChange, *, version: int) -> ProductChange:
    """The same product at another price."""
    if one.product is None:
        raise ValueError("a removal has no price")
    return replace(one, version=version, product=replace(one.product, price=5.0 + version % 90))


def outgoing(topic: str, one: ProductChange) -> Outgoing:
    key, value = encode_change(one)
    return Outgoing(topic=topic, key=key, value=value)


def published(
    bench: Bench, changes: Sequence[ProductChange], apply: Callable[[Sequence[ProductChange]], Receipt]
) -> float:
    """Publish all, then how long the consumer takes for them."""
    with bench.topic() as (topic, sink):
        sink.send([outgoing(topic, one) for one in changes])
        return bench.consume(topic, apply, until=len(changes))[1]


def applying(encoder: Encoder, store: VectorStore) -> Callable[[Sequence[ProductChange]], Receipt]:
    return lambda changes: apply_changes(changes, encoder, store, NoPictures(), now=datetime.now(UTC))


def embed_alone(encoder: Encoder, changes: Sequence[ProductChange]) -> float:
    """The seconds that the encoder takes for the same texts, in batches of the same size."""
    contents = [Content(text=text_seen(one.product)) for one in changes if one.product is not None]
    began_s = time.perf_counter()
    for start in range(0, len(contents), EMBED_BATCH):
        encoder.embed(contents[start : start + EMBED_BATCH])
    return time.perf_counter() - began_s


def upsert_bare(uri: str, store: VectorStore, changes: Sequence[ProductChange]) -> float:
    """The client alone, the stored rows as they are, in batches of the same size; the writes' seconds."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    ids = [one.product_id for one in changes]
    rows = client.query(store.name, ids=ids, output_fields=["*"])
    for row in rows:
        row["vector"] = np.asarray(row["vector"], dtype=np.float32)
    began_s = time.perf_counter()
    for start in range(0, len(rows), EMBED_BATCH):
        client.upsert(store.name, rows[start : start + EMBED_BATCH], timeout=30)
    took_s = time.perf_counter() - began_s
    client.close()
    return took_s


def waves(changes: Iterable[ProductChange]) -> Iterator[list[ProductChange]]:
    """Stretches in which no product comes twice."""
    wave: dict[str, ProductChange] = {}
    for one in changes:
        if one.product_id in wave:
            yield list(wave.values())
            wave = {}
        wave[one.product_id] = one
    if wave:
        yield list(wave.values())


if __name__ == "__main__":
    typer.run(main)
