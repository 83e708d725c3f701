"""What the benchmarks of the stream are made on: a broker, a vector database, products, consumers.

Consumers run in this process where a profile of it matters, and as programs of
their own where they must not share a core with who publishes.
"""

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.local_broker import LocalBroker
from demo.processes import Process, start_process
from demo.shop import make_product
from demo.stack import start_milvus_lite
from product_index.encoder import Content, Encoder, Vectors
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.receipt import Receipt
from product_index.refresh import apply_changes
from product_index.vector_store import VectorStore
from streaming.build import group_lag
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.freshness import Arrival
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, ensure_topics
from streaming.kafka_client import administering
from streaming.worker import Pace, Worker

ALIAS = "products"
SHOP_SEED = 11
GIVE_UP_S = 300.0


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
    """A broker and a vector database; topics and workers on them."""

    def __init__(
        self, folder: Path, broker: LocalBroker, milvus_uri: str, *, milvus_pid: int | None = None
    ) -> None:
        self.folder = folder
        self.servers = {"broker": broker.pid, "Milvus": milvus_pid}
        self.uri = milvus_uri
        self.bootstrap = broker.bootstrap
        self.connection: dict[str, Any] = {"bootstrap_servers": [broker.bootstrap]}
        self._names = 0

    def name(self, kind: str) -> str:
        """A name that nothing else here has."""
        self._names += 1
        return f"{kind}_{self._names}"

    def topic(self, *, partitions: int) -> str:
        """A topic of its own."""
        name = self.name("changes")
        ensure_topics(self.connection, [name], partitions=partitions)
        return name

    def publish(self, topic: str, changes: Sequence[ProductChange]) -> None:
        """Write them; the broker has answered on return."""
        with closing(KafkaMessageSink(self.connection)) as sink:
            for start in range(0, len(changes), 10_000):
                sink.send([outgoing(topic, one) for one in changes[start : start + 10_000]])

    def consume(
        self, topic: str, apply: Callable[[Sequence[ProductChange]], Receipt], *, until: int
    ) -> tuple[list[Arrival], float]:
        """Work here until so many messages are done; seconds from the first batch to the last commit."""
        arrivals: list[Arrival] = []
        began_s: list[float] = []

        def timed(changes: Sequence[ProductChange]) -> Receipt:
            began_s.append(time.perf_counter())
            return apply(changes)

        with (
            closing(KafkaChangeLog(self.connection, [topic], group=f"g-{topic}")) as log,
            closing(KafkaMessageSink(self.connection)) as sink,
        ):
            worker = Worker(
                changes=log, sink=sink, apply=timed, arrived=arrivals.extend, pace=Pace(batch_wait_s=0.05)
            )
            gc.freeze()  # as the program does
            worker.run(stop=lambda: len(arrivals) >= until)
            gc.unfreeze()
            return arrivals, time.perf_counter() - began_s[0]

    def seconds_for(
        self, changes: Sequence[ProductChange], apply: Callable[[Sequence[ProductChange]], Receipt]
    ) -> float:
        """Publish all, then how long a consumer here takes for them."""
        topic = self.topic(partitions=2)
        self.publish(topic, changes)
        return self.consume(topic, apply, until=len(changes))[1]

    @contextmanager
    def consumer(self, topic: str, **environment: str) -> Iterator[Process]:
        """`python -m streaming consume` as a process of its own, told to stop at the end."""
        name = self.name("consumer")
        told = {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "CHANGES_TOPIC": topic,
            "CONSUMER_GROUP": f"g-{topic}",
            "MILVUS_URI": self.uri,
            "PRODUCT_ALIAS": ALIAS,
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        command = [sys.executable, "-m", "streaming", "consume"]
        command += ["--freshness-log", str(self.folder / f"{topic}.jsonl")]
        process = start_process(name, command, self.folder / f"{name}.log", told)
        try:
            yield process
        finally:
            process.stop(grace_s=60.0)

    def acknowledged(self, topic: str) -> int:
        """How many messages of it are done."""
        lags = group_lag(self.connection, [topic], group=f"g-{topic}")
        return sum((one.committed or 0) for one in lags)

    def wait_for_members(self, topic: str, count: int) -> None:
        """Return once so many consumers share its partitions; one that joins later stops the others."""
        give_up_s = time.monotonic() + GIVE_UP_S
        with administering(self.connection) as admin:
            while time.monotonic() < give_up_s:
                members = admin.describe_groups([f"g-{topic}"])[f"g-{topic}"]["members"]
                shares = [one["member_assignment"] for one in members]
                if len(shares) == count and all(one and one["assigned_partitions"] for one in shares):
                    return
                time.sleep(0.1)
        raise TimeoutError(f"{topic} has not {count} consumers after {GIVE_UP_S:g} s")

    def wait_until_done(self, topic: str, count: int) -> None:
        """Return once so many messages are acknowledged."""
        give_up_s = time.monotonic() + GIVE_UP_S
        while self.acknowledged(topic) < count:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{topic} is not done after {GIVE_UP_S:g} s; logs are in {self.folder}")
            time.sleep(0.05)


@contextmanager
def open_bench(folder: Path, *, real_milvus: bool) -> Iterator[Bench]:
    """Start both servers; they end with the block."""
    broker = LocalBroker(folder / "kafka")
    broker.start()
    milvus: Any = None
    try:
        if real_milvus:
            from tests.product_index.real_milvus import start_real_milvus

            uri, milvus = start_real_milvus(folder / "real-milvus")
        else:
            milvus = start_milvus_lite(folder / "index.db", folder / "milvus.log")
            uri = milvus.uri
        yield Bench(folder, broker, uri, milvus_pid=None if milvus is None else milvus.pid)
    finally:
        if milvus is not None:
            milvus.stop()
        broker.stop()


@dataclass(frozen=True, slots=True)
class Goods:
    """Products of the demo's shop, and their photos by name."""

    products: Sequence[Product]
    photos: dict[str, bytes]

    def changes(self, *, version: int = 1) -> list[ProductChange]:
        """One change for each, now."""
        return [change_of(product, version=version) for product in self.products]


def goods(count: int, *, first: int = 0, pictures: bool = True) -> Goods:
    """So many products as a shop lists them, each with its photo; drawing is not part of any figure."""
    products, photos = [], {}
    for index in range(first, first + count):
        made = make_product(SHOP_SEED, index)
        listed = made.listing
        names = made.image_names()[:1] if pictures else []
        photos |= {name: made.photo() for name in names}
        kept = ("product_id", "title", "description", "category", "brand", "price", "currency", "attributes")
        products.append(Product(image_uris=tuple(names), **{name: listed[name] for name in kept}))
    return Goods(products, photos)


def plain(number: int) -> Product:
    """A product without a picture, quickly made, for what no encoder sees."""
    return Product(product_id=f"plain-{number}", title=f"oak shelf no. {number}", category="home", price=9.5)


def change_of(product: Product, *, version: int) -> ProductChange:
    """The product as it is now."""
    return ProductChange(
        product_id=product.product_id, version=version, occurred_at=datetime.now(UTC), product=product
    )


def repriced(product: Product, *, version: int) -> ProductChange:
    """The same product at another price."""
    return change_of(replace(product, price=5.0 + version % 90), version=version)


def outgoing(topic: str, one: ProductChange) -> Outgoing:
    """A change as it is published."""
    key, value = encode_change(one)
    return Outgoing(topic=topic, key=key, value=value)


def applying(
    encoder: Encoder, store: VectorStore, photos: dict[str, bytes] | None = None
) -> Callable[[Sequence[ProductChange]], Receipt]:
    """What a worker does with changes."""
    pictures = NoPictures(photos)
    return lambda changes: apply_changes(changes, encoder, store, pictures, now=datetime.now(UTC))


class Cores:
    """How busy this machine was during a block, as a share of all its cores; 0 where /proc is not."""

    def __enter__(self) -> "Cores":
        self.busy = 0.0
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        idle, everything = (now - was for was, now in zip(self._before, self._read(), strict=True))
        self.busy = 1 - idle / everything if everything else 0.0

    @staticmethod
    def _read() -> tuple[int, int]:
        if not Path("/proc/stat").exists():
            return 0, 0
        ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)


def processor_s(leader: int | None) -> float:
    """What a program and those that it started have used of the processors; 0 where /proc is not."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if leader in (int(stat.parent.name), int(fields[3])):  # itself, or of its session
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(figures: dict[str, list[float]]) -> None:
    """Medians and spreads, per second."""
    print("| what | per second, median | spread |\n| --- | --: | --- |")
    for name, found in figures.items():
        print(f"| {name} | {statistics.median(found):.0f} | {min(found):.0f} to {max(found):.0f} |")


def told(name: str, ours: Sequence[float], theirs: Sequence[float], *, wanted: str) -> None:
    """The ratio turn by turn: what else the machine does hits both sides of a turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"\n{name} = {statistics.median(ratios):.2f}, turns {spread} (wanted {wanted})")
