"""Load on consumers that are programs of their own: two against one, the open loop, a million messages.

    python -m benchmarks.stream_load BOOTSTRAP TOPIC PRODUCTS REQUEST_MS

is a consumer whose store is far away: in memory, but every request takes its time.
"""

import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count as counting
from pathlib import Path
from random import Random

import structlog

from benchmarks.stream_bench import (
    ALIAS,
    Bench,
    Cores,
    Goods,
    applying,
    change_of,
    goods,
    outgoing,
    plain,
    processor_s,
    repriced,
    resident_mb,
)
from demo.processes import Process, free_port, port_answers, start_process, wait_until
from product_index.embedding import spec_of
from product_index.encoder import Encoder, HashEncoder
from product_index.in_memory import InMemoryVectorStore
from product_index.milvus import MilvusVectorDatabase
from product_index.product import Product, ProductChange
from product_index.uniecs_encoder import UniecsEncoder
from product_index.vector_store import CollectionSpec, Fingerprint, ProductVector
from streaming.change_log import Outgoing
from streaming.freshness import percentile, read_freshness
from streaming.kafka import KafkaChangeLog, KafkaMessageSink
from streaming.worker import Worker

WARM = 64
FAR_MS = 60  # what a strong read of a cluster takes: its clock ticks every 50 to 200 ms
ONE_WAY_MS = 75  # to another continent: waiting must be the limit, not the cores that all share here
DRAWN = 1_500
MEMORY_PRODUCTS = 500  # many changes of each in a batch: a million messages in minutes
SAMPLES = 20


def scale(bench: Bench, count: int, turns: int, *, real_milvus: bool) -> None:
    """Price changes by one consumer and by two, each a program of its own, on two partitions.

    Where the cores are busy throughout, the machine is the limit and no second consumer helps. So the
    same server is asked over a network, too; not milvus-lite, whose writers take turns wherever they are.
    """
    products = [plain(number) for number in range(count)]
    build(bench, HashEncoder(), products)
    print(f"\nOne consumer and two, {count} price changes on two partitions, {os.cpu_count()} cores\n")
    print(
        "| store | consumers | per second, median | cores busy |"
        " processor seconds per 1,000 changes |\n| --- | --- | --: | --: | --- |"
    )
    cases = {"Milvus on this machine" if real_milvus else "milvus-lite on this machine": bench.uri}
    with ExitStack() as stack:
        if real_milvus:
            cases[f"the same, {ONE_WAY_MS} ms away each way"] = stack.enter_context(behind_a_network(bench))
        cases[f"in memory, {FAR_MS} ms a request"] = ""
        for where, uri in cases.items():
            runs: dict[int, list[Run]] = {1: [], 2: []}
            for _ in range(turns):
                for members in (1, 2):
                    runs[members].append(consumed(bench, products, members, uri=uri))
            for members in (1, 2):
                middle = sorted(runs[members], key=lambda run: run.per_s)[turns // 2]
                used = ", ".join(f"{name} {used_s:.2f}" for name, used_s in middle.used_s.items())
                print(
                    f"| {where} | {members} | {middle.per_s:.0f} | {middle.busy:.0%} | {used} |", flush=True
                )
            ratios = [two.per_s / one.per_s for one, two in zip(runs[1], runs[2], strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"| {where} | two : one | {statistics.median(ratios):.2f} ({spread}), wanted 1.6 | | |")


@dataclass(frozen=True, slots=True)
class Run:
    """How fast changes were worked off, and what that took of the processors.

    Attributes:
        busy: the share of all cores meanwhile.
        used_s: seconds per 1,000 changes, by program.
    """

    per_s: float
    busy: float
    used_s: dict[str, float]


def consumed(bench: Bench, products: Sequence[Product], members: int, *, uri: str) -> Run:
    """One turn.

    Args:
        bench: the servers.
        products: whose prices change.
        members: how many consumers.
        uri: of their store; none is the one in memory that answers late.
    """
    topic = bench.topic(partitions=2)
    with ExitStack() as stack:
        consumers = []
        for _ in range(members):
            if uri:
                consumers.append(
                    stack.enter_context(bench.consumer(topic, UNIECS_MODEL="hash", MILVUS_URI=uri))
                )
            else:
                consumers.append(start_far(bench, topic, len(products)))
                stack.callback(consumers[-1].stop)
        bench.publish(topic, [change_of(plain(number), version=1) for number in range(WARM)])
        bench.wait_until_done(topic, WARM)
        bench.wait_for_members(topic, members)
        version = time.time_ns()
        changes = [repriced(one, version=version) for one in products]
        pids = bench.servers | {f"consumer {at + 1}": one.pid for at, one in enumerate(consumers)}
        pids["publisher and clock"] = os.getpid()
        before = {name: processor_s(pid) for name, pid in pids.items()}
        began_s = time.perf_counter()
        with Cores() as cores:
            bench.publish(topic, changes)
            bench.wait_until_done(topic, WARM + len(changes))
        per_s = len(changes) / (time.perf_counter() - began_s)
        used_s = {name: (processor_s(pid) - before[name]) * 1000 / len(changes) for name, pid in pids.items()}
        return Run(per_s, cores.busy, used_s)


@contextmanager
def behind_a_network(bench: Bench) -> Iterator[str]:
    """The address at which the vector database answers later."""
    name, port = bench.name("network"), free_port()
    command = [
        sys.executable,
        "-m",
        "benchmarks.far",
        str(port),
        bench.uri.rpartition(":")[2],
        str(ONE_WAY_MS),
    ]
    process = start_process(name, command, bench.folder / f"{name}.log")
    try:
        wait_until(lambda: port_answers(port), process, timeout_s=20.0)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def start_far(bench: Bench, topic: str, products: int) -> Process:
    """A consumer whose store is far away."""
    name = bench.name("far")
    told = [sys.executable, "-m", "benchmarks.stream_load", bench.bootstrap, topic]
    return start_process(name, [*told, str(products), str(FAR_MS)], bench.folder / f"{name}.log")


class FarStore(InMemoryVectorStore):
    """Every request takes its time, as over a network; the processor is free meanwhile."""

    def __init__(self, name: str, spec: CollectionSpec) -> None:
        super().__init__(name, spec)
        self.request_s = 0.0

    def fingerprints(self, product_ids: Sequence[str]) -> dict[str, Fingerprint]:
        """Late."""
        time.sleep(self.request_s)
        return super().fingerprints(product_ids)

    def upsert(self, rows: Sequence[ProductVector]) -> None:
        """Late; an amendment comes here, too."""
        time.sleep(self.request_s)
        super().upsert(rows)


def consume_far(bootstrap: str, topic: str, products: int, request_ms: int) -> None:
    """Consume until SIGTERM."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    encoder = HashEncoder()
    store = FarStore("green", spec_of(encoder))
    apply = applying(encoder, store)
    apply([change_of(plain(number), version=1) for number in range(products)])
    store.request_s = request_ms / 1000
    connection = {"bootstrap_servers": [bootstrap]}
    with (
        closing(KafkaChangeLog(connection, [topic], group=f"g-{topic}")) as log,
        closing(KafkaMessageSink(connection)) as sink,
    ):
        Worker(changes=log, sink=sink, apply=apply).run(stop=lambda: bool(stopped))


def fresh(bench: Bench, model: Path, *, for_s: float) -> None:
    """Changes of every class at half of the capacity, whatever the consumer does."""
    drawn = goods(DRAWN)
    for name, photo in drawn.photos.items():
        path = bench.folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
    encoder = UniecsEncoder(model)
    shop = shopping(drawn, Random(3))
    build(bench, encoder, [])
    paths = {"UNIECS_MODEL": str(model.resolve()), "PICTURE_ROOT": str(bench.folder / "shop")}
    topic = bench.topic(partitions=2)
    with bench.consumer(topic, **paths), closing(KafkaMessageSink(bench.connection)) as sink:
        first = [next(shop) for _ in range(400)]
        bench.publish(topic, first)
        bench.wait_until_done(topic, len(first))
        burst = [next(shop) for _ in range(600)]
        began_s = time.perf_counter()
        bench.publish(topic, burst)
        bench.wait_until_done(topic, len(first) + len(burst))
        rate_per_s = len(burst) / (time.perf_counter() - began_s) / 2
        before = {name: len(found) for name, found in read_freshness(bench.folder / f"{topic}.jsonl").items()}
        number, count, began_s, began = 0, int(rate_per_s * for_s), time.perf_counter(), datetime.now(UTC)
        with Cores() as cores:
            while number < count:
                due = min(count, int((time.perf_counter() - began_s) * rate_per_s) + 1)
                # A change occurs when it is due, not when whoever publishes comes to it.
                told = [
                    replace(next(shop), occurred_at=began + timedelta(seconds=place / rate_per_s))
                    for place in range(number, due)
                ]
                sink.send([outgoing(topic, one) for one in told])
                number = due
                time.sleep(max(0.0, began_s + number / rate_per_s - time.perf_counter()))
            bench.wait_until_done(topic, len(first) + len(burst) + number)
        kept_up_s = time.perf_counter() - began_s
    print(
        f"\nOpen loop: {rate_per_s:.0f} changes a second for {for_s:g} s, half of what a burst of the same"
        f" mixture took; done after {kept_up_s:.1f} s, cores {cores.busy:.0%} busy\n"
    )
    print("| class | changes | half within | 99% within (wanted 1,000 ms) |\n| --- | --: | --: | --: |")
    for outcome, found in sorted(read_freshness(bench.folder / f"{topic}.jsonl").items()):
        later = found[before.get(outcome, 0) :]
        if later:
            half, most = percentile(later, 0.5), percentile(later, 0.99)
            print(f"| {outcome} | {len(later)} | {half} ms | {most} ms |")


def shopping(drawn: Goods, chance: Random) -> Iterator[ProductChange]:
    """What a shop does, for ever: prices mostly, texts, new products, photos, removals."""
    alive: dict[str, Product] = {}
    photos = list(drawn.photos)
    for number in counting(1):
        kind = chance.random()
        if number <= 300 or kind < 0.2:
            base = drawn.products[number % len(drawn.products)]
            product = replace(base, product_id=f"s-{number}", image_uris=(photos[number % len(photos)],))
            alive[product.product_id] = product
            yield change_of(product, version=number)
            continue
        product = alive[chance.choice(list(alive))]
        if kind < 0.25:
            product = replace(product, image_uris=(photos[-number % len(photos)],))
        elif kind < 0.45:
            product = replace(product, description=f"{product.description} Batch {number}.")
        elif kind < 0.5:
            del alive[product.product_id]
            yield replace(change_of(product, version=number), product=None)
            continue
        else:
            product = replace(product, price=round(chance.uniform(1, 99), 2))
        alive[product.product_id] = product
        yield change_of(product, version=number)


def memory(bench: Bench, count: int) -> None:
    """The resident memory of a consumer over so many messages, poison and removals among them."""
    products = [plain(number) for number in range(MEMORY_PRODUCTS)]
    build(bench, HashEncoder(), products)
    topic, chance = bench.topic(partitions=2), Random(5)
    step, sent = count // SAMPLES, 0
    print(f"\nResident memory of one consumer over {count} messages\n")
    print("| messages | MB | since |\n| --: | --: | --: |")
    held: list[float] = []
    with (
        bench.consumer(topic, UNIECS_MODEL="hash") as process,
        closing(KafkaMessageSink(bench.connection)) as sink,
    ):
        began_s = time.monotonic()
        while len(held) < SAMPLES:
            while sent < min(count, step * (len(held) + 2)):
                sink.send([_any(topic, products, chance, sent + number) for number in range(5_000)])
                sent += 5_000
            bench.wait_until_done(topic, step * (len(held) + 1))
            held.append(resident_mb(process.pid))
            took_s = time.monotonic() - began_s
            print(f"| {step * len(held)} | {held[-1]:.0f} | {took_s:.0f} s |", flush=True)
    settled = held[SAMPLES // 5 :]
    slope = statistics.linear_regression(range(len(settled)), settled).slope * len(settled)
    print(f"\nover the last four fifths: {slope:+.1f} MB, {min(settled):.0f} to {max(settled):.0f} MB")


def _any(topic: str, products: Sequence[Product], chance: Random, number: int) -> Outgoing:
    product, kind = chance.choice(products), chance.random()
    version = 10 + number
    if kind < 0.01:
        return Outgoing(topic=topic, key=product.product_id.encode(), value=b"{no json")
    if kind < 0.02:
        return outgoing(topic, replace(change_of(product, version=version), product=None))
    if kind < 0.04:
        return outgoing(
            topic, change_of(replace(product, title=f"{product.title}, {number}"), version=version)
        )
    return outgoing(topic, repriced(product, version=version))


def build(bench: Bench, encoder: Encoder, products: Sequence[Product]) -> None:
    """A new index of these products, served."""
    with closing(MilvusVectorDatabase(bench.uri)) as database:
        store = database.create(bench.name("green"), spec_of(encoder))
        apply = applying(encoder, store)
        for start in range(0, len(products), 1024):
            apply([change_of(one, version=1) for one in products[start : start + 1024]])
        database.switch(ALIAS, store.name)


if __name__ == "__main__":
    consume_far(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
