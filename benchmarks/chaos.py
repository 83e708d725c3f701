"""Break the stream on purpose, again and again, and compare the index with the truth.

    python -m benchmarks.chaos [--rounds 20] [--seed 7] [--products 200] [--milvus-away-s 60] [--real-milvus]

Real Apache Kafka, milvus-lite or a real Milvus, consumers as processes of their own. Each
round publishes changes with duplicates, late old versions, removals and clocks
that go backwards, and breaks one thing meanwhile. After each round the index
must hold the last version of every product: nothing lost, stale or risen again.
"""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from benchmarks.local_broker import LocalBroker
from demo.processes import Process, free_port, start_process
from demo.stack import Server, start_milvus_lite
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.errors import StoreUnavailable
from product_index.milvus import MilvusVectorDatabase
from product_index.product import Product, ProductChange
from product_index.vector_store import VectorDatabase
from streaming.build import group_lag
from streaming.change_log import Outgoing
from streaming.dead_letters import SUFFIX
from streaming.events import encode_change
from streaming.kafka import KafkaMessageSink, ensure_topics

TOPIC, ALIAS, GROUP = "product-changes", "products", "chaos"
PARTITIONS = 4
SETTLE_TIMEOUT_S, SESSION_S = 600.0, 6
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WORDS = ("red", "blue", "green", "mug", "cup", "lamp", "oak", "steel", "wool", "small", "large")


class Truth:
    """What a shop did to its products, and how a log may deliver it."""

    def __init__(self, *, products: int, seed: int) -> None:
        self._ids = [f"p-{number}" for number in range(products)]
        self._chance = Random(seed)
        self._last: dict[str, ProductChange] = {}
        self._said: list[ProductChange] = []

    @property
    def last(self) -> Mapping[str, ProductChange]:
        """The last change of every product."""
        return self._last

    def happens(self, count: int) -> list[ProductChange]:
        """So many new changes, with duplicates and old versions between them, in an order of delivery."""
        delivered: list[ProductChange] = []
        for _ in range(count):
            change = self._next(self._chance.choice(self._ids))
            self._said.append(change)
            delivered.append(change)
            if self._chance.random() < 0.3:  # delivered again, however old
                delivered.append(self._chance.choice(self._said))
        for _ in range(count // 4):  # a producer that retries out of order
            one, other = (self._chance.randrange(len(delivered)) for _ in range(2))
            delivered[one], delivered[other] = delivered[other], delivered[one]
        return delivered

    def _next(self, product_id: str) -> ProductChange:
        before = self._last.get(product_id)
        version = 1 if before is None else (before.version or 0) + 1
        # The clock is wrong by up to an hour, in both directions: versions decide.
        occurred_at = NOON + timedelta(seconds=version + self._chance.uniform(-3600, 3600))
        product = self._product(product_id, before)
        change = ProductChange(
            product_id=product_id, version=version, occurred_at=occurred_at, product=product
        )
        self._last[product_id] = change
        return change

    def _product(self, product_id: str, before: ProductChange | None) -> Product | None:
        kind = self._chance.random()
        if before is not None and before.product is not None and kind < 0.15:
            return None
        title = " ".join(self._chance.sample(WORDS, 3))
        if before is not None and before.product is not None and kind < 0.6:
            title = before.product.title
        return Product(product_id=product_id, title=title, price=round(self._chance.uniform(1, 99), 2))


class Land:
    """A broker, a vector database and some consumers, each of which may be broken."""

    def __init__(self, folder: Path, *, products: int, seed: int, real_milvus: bool = False) -> None:
        self.chance = Random(seed)
        self._real_milvus = real_milvus
        self.truth = Truth(products=products, seed=seed)
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._milvus_port = free_port()
        self._milvus: Server | Process | None = None
        self._consumers: dict[str, Process] = {}
        self.broker = LocalBroker(folder / "kafka")

    def open(self) -> None:
        """Start everything but consumers."""
        self.broker.start()
        ensure_topics(self._connection, [TOPIC, TOPIC + SUFFIX], partitions=PARTITIONS)
        self.start_milvus()
        database = self._database()
        database.create("green", spec_of(HashEncoder()))
        database.switch(ALIAS, "green")
        database.close()

    def close(self) -> None:
        """Stop everything that runs."""
        for name in list(self._consumers):
            self._consumers.pop(name).stop()
        self.broker.stop()
        if self._milvus is not None:
            self._milvus.stop()

    def start_milvus(self) -> None:
        """Start the vector database, on the data it had."""
        if self._real_milvus:
            from tests.product_index.real_milvus import start_real_milvus

            _, self._milvus = start_real_milvus(self._folder / "milvus", port=self._milvus_port)
            return
        log = self._folder / "milvus.log"
        self._milvus = start_milvus_lite(self._folder / "index.db", log, port=self._milvus_port)

    def stop_milvus(self) -> None:
        """Stop it; it keeps its data."""
        if self._milvus is not None:
            self._milvus.stop()

    def consumer(self, name: str) -> None:
        """Start a consumer; "one" has a static membership, so a restart takes its partitions back."""
        environment = {
            "KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "CONSUMER_GROUP": GROUP,
            "CONSUMER_SESSION_TIMEOUT_S": str(SESSION_S),
            "MILVUS_URI": f"http://127.0.0.1:{self._milvus_port}",
            "PRODUCT_ALIAS": ALIAS,
            "UNIECS_MODEL": "hash",
            "BATCH_SIZE": "16",
        }
        if name == "one":  # others tell the group when they leave
            environment["CONSUMER_INSTANCE_ID"] = name
        command = [sys.executable, "-m", "streaming", "consume"]
        self._consumers[name] = start_process(name, command, self._folder / f"{name}.log", environment)

    def kill(self, name: str) -> None:
        """End a consumer with -9."""
        process = self._consumers.pop(name)
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        process.wait(timeout_s=SETTLE_TIMEOUT_S)

    def freeze(self, name: str) -> None:
        """It neither works nor tells the group that it lives."""
        os.killpg(self._consumers[name].pid, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """It goes on in the middle of what it did."""
        os.killpg(self._consumers[name].pid, signal.SIGCONT)

    def leave(self, name: str) -> None:
        """Ask a consumer to end."""
        self._consumers.pop(name).stop(grace_s=60.0)

    def publish(self, count: int) -> None:
        """Let changes happen; the broker has answered for each on return."""
        sink = KafkaMessageSink(self._connection)
        try:
            sent = self.truth.happens(count)
            messages = [encode_change(change) for change in sent]
            sink.send([Outgoing(topic=TOPIC, key=key, value=value) for key, value in messages])
        finally:
            sink.close()
        self.counts["delivered"] += len(sent)
        self.counts["new"] += count

    def settle(self) -> float:
        """Wait until nothing is behind, and return how long it took."""
        began_s = time.monotonic()
        while self._behind():
            if time.monotonic() - began_s > SETTLE_TIMEOUT_S:
                raise TimeoutError(f"still behind after {SETTLE_TIMEOUT_S:g} s; logs are in {self._folder}")
            time.sleep(0.1)
        return time.monotonic() - began_s

    def differences(self) -> list[str]:
        """Where the index is not what the shop did last: lost, stale, or risen again."""
        database = self._database()
        try:
            store = database.open("green")
            last = self.truth.last
            wait_for_answer(store.count)
            rows = store.get(list(last))
            found = []
            for key, change in sorted(last.items()):
                row = rows.get(key)
                if row is None:
                    found.append(f"{key}: lost, version {change.version}")
                elif row.fingerprint.version != change.version:
                    found.append(f"{key}: version {row.fingerprint.version}, last is {change.version}")
                elif row.fingerprint.deleted != change.is_removal:
                    found.append(f"{key}: deleted is {row.fingerprint.deleted} at version {change.version}")
                elif change.product is not None and (row.title, row.price) != (
                    change.product.title,
                    change.product.price,
                ):
                    found.append(f"{key}: {row.title!r} at {row.price}, last is {change.product}")
            alive = sum(not change.is_removal for change in last.values())
            if store.count() != alive:
                found.append(f"{store.count()} products can be found, {alive} are alive")
            return found
        finally:
            database.close()

    @property
    def _connection(self) -> dict[str, object]:
        return {"bootstrap_servers": [self.broker.bootstrap]}

    def _behind(self) -> int:
        return sum(one.behind for one in group_lag(self._connection, [TOPIC], group=GROUP))

    def _database(self) -> VectorDatabase:
        return MilvusVectorDatabase(f"http://127.0.0.1:{self._milvus_port}")


def wait_for_answer(ask: Callable[[], object]) -> None:
    """A real Milvus that was started again loads its collections for half a minute."""
    give_up_s = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < give_up_s:
        with suppress(StoreUnavailable):
            ask()
            return
        time.sleep(0.5)
    raise TimeoutError("Milvus does not answer")


def killed(land: Land) -> None:
    """A consumer dies in the middle of its work."""
    land.publish(120)
    time.sleep(land.chance.uniform(0.0, 1.5))
    land.kill("one")
    land.publish(40)
    land.consumer("one")


def joined_and_left(land: Land) -> None:
    """A second consumer comes in the middle of the work and goes again."""
    land.publish(120)
    land.consumer("two")
    time.sleep(land.chance.uniform(2.0, 4.0))
    land.publish(120)
    land.leave("two")


def three_came_and_went(land: Land) -> None:
    """Two more come in the middle of the work; one goes, the other dies."""
    land.consumer("two")
    land.publish(120)
    land.consumer("three")
    time.sleep(land.chance.uniform(2.0, 4.0))
    land.publish(120)
    land.leave("two")
    land.publish(120)
    time.sleep(land.chance.uniform(0.0, 1.5))
    land.kill("three")


def frozen(land: Land) -> None:
    """Of three consumers one is frozen until the group gives it up, and wakes in the middle of its batch."""
    land.consumer("two")
    land.consumer("three")
    land.publish(120)
    time.sleep(land.chance.uniform(1.0, 3.0))
    land.publish(200)
    time.sleep(land.chance.uniform(0.0, 0.6))
    land.freeze("two")
    land.publish(120)
    time.sleep(SESSION_S + 3.0)  # the others have its partitions, and have written newer rows
    land.wake("two")
    land.publish(40)
    land.settle()
    land.leave("two")
    land.leave("three")


def broker_away(land: Land) -> None:
    """The broker stops in the middle of the work and starts again on its data."""
    land.publish(120)
    time.sleep(land.chance.uniform(0.0, 0.5))
    land.broker.stop()
    time.sleep(land.chance.uniform(0.0, 3.0))
    land.broker.start()
    land.publish(40)


def milvus_away(land: Land, *, away_s: float = 2.0) -> None:
    """The vector database stops in the middle of the work and starts again on its data."""
    land.publish(120)
    time.sleep(land.chance.uniform(0.0, 0.5))
    land.stop_milvus()
    land.publish(40)
    time.sleep(away_s)
    land.start_milvus()


FAULTS = (killed, joined_and_left, broker_away, milvus_away, three_came_and_went, frozen)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of kills; every fourth has another fault, too.")] = 20,
    only: Annotated[str, typer.Option(help="This fault in every round, instead of all of them.")] = "",
    seed: Annotated[int, typer.Option(help="Of everything that is left to chance.")] = 7,
    products: Annotated[int, typer.Option(min=1)] = 200,
    milvus_away_s: Annotated[float, typer.Option(min=0, help="How long Milvus is away.")] = 60.0,
    real_milvus: Annotated[bool, typer.Option(help="Not milvus-lite: a real server.")] = False,
) -> None:
    """Print one row a round; exit code 1 if any round left a difference."""
    chosen = next((fault for fault in FAULTS if fault.__name__ == only), None)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        land = Land(Path(folder), products=products, seed=seed, real_milvus=real_milvus)
        bad = 0
        try:
            land.open()
            land.consumer("one")
            print("| round | fault | settled after | differences |\n| --- | --- | --- | --- |")
            for number in range(1, rounds + 1):
                others = [] if number % 4 else [FAULTS[1 + (number // 4 - 1) % (len(FAULTS) - 1)]]
                faults = [chosen] if chosen else [killed, *others]
                for fault in faults:
                    fault(land, away_s=milvus_away_s) if fault is milvus_away else fault(land)
                    took_s = land.settle()
                    found = land.differences()
                    bad += len(found)
                    print(f"| {number} | {fault.__name__} | {took_s:.1f} s | {len(found)} |", flush=True)
                    for line in found[:5]:
                        print(f"  {line}", file=sys.stderr)
        finally:
            land.close()
        new, delivered = land.counts["new"], land.counts["delivered"]
        print(f"\nseed {seed}: {new} changes in {delivered} deliveries, {bad} wrong")
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
