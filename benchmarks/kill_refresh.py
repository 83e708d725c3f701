"""Kill a task of the nightly rebuild with signal 9 at a random moment, again and again; nothing may be lost.

    python -m benchmarks.kill_refresh [--trials 20] [--first 0] [--seed 7] [--milvus-away-s 60]

A real Airflow (scheduler, DAG processor, API server), Kafka, a consumer, and
milvus-lite as a server. First the scheduled run and two backfills overlap. Then,
in each trial, a run is asked for, one of its tasks is killed, products change
meanwhile, and a reader searches all the time. Afterwards what is served must
hold every product as the shop last said it, to the bit; the reader must have had
full lists throughout; and one older collection is kept. Last, if that is asked
for, Milvus itself is ended in the middle of a load and stays away for a while.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from demo.processes import start_process
from demo.stack import Server, start_kafka, start_milvus_lite
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.errors import StoreUnavailable
from product_index.in_memory import InMemoryVectorDatabase
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.refresh import apply_changes
from product_index.vector_store import VectorDatabase
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.kafka import KafkaMessageSink, ensure_topics

if TYPE_CHECKING:
    from tests.dags.real_airflow import Airflow

DAG_ID, TOPIC, ALIAS = "refresh_product_index", "product-changes", "products"
TASKS = ["mark", "begin", "take_over", "list_shards", "embed_shard", "load"]
TASKS += ["catch_up", "canary", "switch", "drop_old"]
WORDS = ("red", "blue", "green", "mug", "cup", "lamp", "oak", "steel", "wool", "small", "large")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
RUN_TIMEOUT_S, SETTLE_TIMEOUT_S = 300.0, 180.0


class Shop:
    """A shop: its table is the catalogue's file, and its change log is Kafka. The table is written first."""

    def __init__(self, folder: Path, sink: KafkaMessageSink | None, *, products: int, seed: int) -> None:
        self._file = folder / "products.jsonl"
        self._sink = sink
        self._chance = Random(seed)
        self._clock = 0
        self.last = {f"p{number:05}": self._change(f"p{number:05}") for number in range(products)}
        self._write()

    def happens(self, count: int) -> None:
        """So many products change; a few are taken out, or are new, or come back."""
        changes = []
        for _ in range(count):
            key = self._chance.choice(sorted(self.last))
            if self._chance.random() < 0.1:
                key = f"new{self._clock}"
            changes.append(self._change(key, removed=self._chance.random() < 0.1 and key in self.last))
            self.last[key] = changes[-1]
        self._write()
        if self._sink is not None:
            said = (encode_change(change) for change in changes)
            self._sink.send([Outgoing(topic=TOPIC, key=key, value=value) for key, value in said])

    def expected(self) -> dict[str, tuple[int, bytes]]:
        """Version and vector by key, of all that is there."""
        encoder = HashEncoder()
        store = InMemoryVectorDatabase().create("expected", spec_of(encoder))
        apply_changes(list(self.last.values()), encoder, store, NoPictures(), now=NOON)
        return {
            row.product_id: (row.fingerprint.version, row.vector.tobytes())
            for page in store.rows()
            for row in page
            if not row.fingerprint.deleted
        }

    def _change(self, key: str, *, removed: bool = False) -> ProductChange:
        self._clock += 1
        title = " ".join([key, *self._chance.sample(WORDS, 3)])
        return ProductChange(
            product_id=key,
            version=self._clock,
            occurred_at=NOON + timedelta(milliseconds=self._clock),
            product=None if removed else Product(product_id=key, title=title),
        )

    def _write(self) -> None:
        rows = [
            {
                "id": key,
                "title": one.product.title,
                "version": one.version,
                "updated_at": one.occurred_at.isoformat(),
            }
            for key, one in self.last.items()
            if one.product is not None
        ]
        draft = self._file.with_suffix(".part")
        draft.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        os.replace(draft, self._file)


class Reader(threading.Thread):
    """A shopper who never stops asking; every list must be full, whoever builds what."""

    def __init__(self, uri: str) -> None:
        super().__init__(daemon=True)
        self._database = MilvusVectorDatabase(uri)
        self._vectors = np.random.default_rng(1).standard_normal((64, 64)).astype("f4")
        self._ending = threading.Event()
        self.asked = 0
        self.served: list[str] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        """Ask until told to end."""
        while not self._ending.wait(0.05):
            try:
                store = self._database.open(ALIAS)
                vector = self._vectors[self.asked % 64]
                hits = store.search((vector / np.linalg.norm(vector))[None], limit=20)[0]
                if len(hits) != 20:
                    self.wrong.append(f"{len(hits)} hits of {store.name}")
                if store.name not in self.served:
                    self.served.append(store.name)
            except Exception as error:  # all of it is what the benchmark counts
                self.wrong.append(str(error))
            self.asked += 1

    def end(self) -> None:
        """Let it finish, and close."""
        self._ending.set()
        self.join()
        self._database.close()


class Milvus:
    """milvus-lite as a server that may be ended, and comes back at its address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = self._start(None)
        self.uri = self._server.uri

    def goes_away(self, seconds: float) -> None:
        """End it, and start it again after so long."""
        self._server.stop()
        time.sleep(seconds)
        self._server = self._start(int(self.uri.rpartition(":")[2]))

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def _start(self, port: int | None) -> Server:
        return start_milvus_lite(self._folder / "index.db", self._folder / "milvus.log", port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one run."""

    number: int
    killed: str
    state: str
    tries: int
    took_s: float
    lost: int
    asked: int
    wrong: int
    kept: int

    @property
    def good(self) -> bool:
        """Whether it kept every promise."""
        return (self.state, self.lost, self.wrong, self.kept) == ("success", 0, 0, 2)


def main(
    trials: Annotated[int, typer.Option(help="runs with a kill")] = 20,
    first: Annotated[int, typer.Option(help="number of the first, to go on with a series")] = 0,
    seed: Annotated[int, typer.Option(help="of what changes, and of who is killed when")] = 7,
    products: Annotated[int, typer.Option(help="in the catalogue")] = 1_500,
    milvus_away_s: Annotated[float, typer.Option(help="how long it stays away in a last run; 0: none")] = 0.0,
) -> None:
    """Run the trials and print a line for each; exit with 1 if one broke a promise."""
    from tests.dags.real_airflow import start_airflow

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kill-refresh-")))
        broker = start_kafka(folder / "kafka", folder / "kafka.log")
        stack.callback(broker.stop)
        milvus = Milvus(folder)
        stack.callback(milvus.stop)
        settings = {
            "KAFKA_BOOTSTRAP": broker.bootstrap, "MILVUS_URI": milvus.uri, "UNIECS_MODEL": "hash",
            "CATALOGUE": str(folder), "REBUILD_FOLDER": str(folder / "rebuild"), "TOPIC_PARTITIONS": "2",
            "DAGS_RETRY_DELAY_S": "20" if milvus_away_s else "0",
        }  # fmt: skip
        ensure_topics({"bootstrap_servers": [broker.bootstrap]}, [TOPIC], partitions=2)
        sink = KafkaMessageSink({"bootstrap_servers": [broker.bootstrap]})
        stack.callback(sink.close)
        shop = Shop(folder, sink, products=products, seed=seed + first)
        airflow = stack.enter_context(start_airflow(folder / "airflow", settings, dags=[DAG_ID], rest=True))
        database = MilvusVectorDatabase(milvus.uri)
        stack.callback(database.close)

        newest = overlap(airflow, database, backfills=not first)

        consumer = start_process(
            "consumer", [sys.executable, "-m", "streaming", "consume"], folder / "consumer.log", settings
        )
        stack.callback(consumer.stop)
        reader = Reader(milvus.uri)
        reader.start()
        stack.callback(reader.end)
        print("trial killed                       state    tries     s  lost asked wrong kept", flush=True)
        done = []
        for number in range(first, first + trials):
            chance = Random(f"{seed}/{number}")
            done.append(one_trial(airflow, shop, database, reader, number=number, chance=chance))
            one = done[-1]
            print(
                f"{one.number:5} {one.killed:28} {one.state:8} {one.tries:5} {one.took_s:5.0f} {one.lost:4} "
                f"{one.asked:5} {one.wrong:5} {one.kept:4}{'' if one.good else '  BROKEN'}",
                flush=True,
            )
        good = sum(one.good for one in done)
        print(
            f"{good} of {trials} as if nothing had happened; {reader.asked} searches, {len(reader.wrong)} "
            f"wrong {reader.wrong[:3] or ''}; overlapping runs {'right' if newest else 'WRONG'}",
            flush=True,
        )
        if milvus_away_s:
            good += milvus_goes_away(airflow, shop, database, milvus, away_s=milvus_away_s)
    raise typer.Exit(0 if newest and good == trials + bool(milvus_away_s) else 1)


def milvus_goes_away(
    airflow: "Airflow", shop: Shop, database: VectorDatabase, milvus: Milvus, *, away_s: float
) -> bool:
    """End Milvus while a load is at work; return whether the run ends as if nothing had happened."""
    count, began = len(airflow.runs(DAG_ID)) + 1, time.monotonic()
    run_id = airflow.trigger(DAG_ID)
    while "load" not in dict(airflow.working(DAG_ID)) and time.monotonic() - began < RUN_TIMEOUT_S:
        time.sleep(0.02)
    milvus.goes_away(away_s)
    shop.happens(5)
    state = airflow.wait_for_runs(DAG_ID, count=count, timeout_s=2 * RUN_TIMEOUT_S)[run_id]
    tries, lost = airflow.tasks(DAG_ID, run_id)["load"][1], settle(shop, database)
    told = "StoreUnavailable" in airflow.log_of("load")
    print(
        f"Milvus away in mid-load: {state} after {time.monotonic() - began:.0f} s, load tried {tries} times, "
        f"{lost} lost, {'told' if told else 'NOT told'} in its log"
    )
    return (state, lost, told) == ("success", 0, True)


def overlap(airflow: "Airflow", database: VectorDatabase, *, backfills: bool) -> bool:
    """The scheduled run and two backfills at once: is the newest live in the end, and one older kept?

    Nothing is served before them: where the newest is the first to be done, the others come too late,
    are skipped, and there is no older one to keep.
    """
    days = [(datetime.now(UTC) - timedelta(days=ago)).strftime("%Y-%m-%dT00:00:00Z") for ago in (3, 1)]
    began = time.monotonic()
    if backfills:
        airflow.backfill(DAG_ID, first=days[0], last=days[1], at_once=2)
    else:
        airflow.trigger(DAG_ID)
    runs = airflow.wait_for_runs(DAG_ID, count=3 if backfills else 2, timeout_s=3 * RUN_TIMEOUT_S)
    live, names = database.resolve(ALIAS), database.names()
    kinds = " + ".join(sorted(run.partition("__")[0] for run in runs))
    served = [run for run in runs if airflow.tasks(DAG_ID, run)["switch"][0] == "success"]
    print(
        f"{kinds}: {', '.join(runs.values())} in {time.monotonic() - began:.0f} s, {len(served)} of them "
        f"served; live {live} of {names}"
    )
    return live == max(names) and len(names) == min(2, len(served)) and set(runs.values()) == {"success"}


def one_trial(
    airflow: "Airflow", shop: Shop, database: VectorDatabase, reader: Reader, *, number: int, chance: Random
) -> Trial:
    """Ask for a run, kill one of its tasks, change products meanwhile; then compare."""
    asked, wrong, began = reader.asked, len(reader.wrong), time.monotonic()
    count = len(airflow.runs(DAG_ID)) + 1
    ending = threading.Event()

    def trade() -> None:
        while not ending.wait(0.5):
            shop.happens(3)

    trading = threading.Thread(target=trade, daemon=True)
    trading.start()
    run_id = airflow.trigger(DAG_ID)
    killed = kill_one(airflow, run_id, TASKS[number % len(TASKS)], after_s=chance.uniform(0.0, 0.8))
    runs = airflow.wait_for_runs(DAG_ID, count=count, timeout_s=RUN_TIMEOUT_S)
    took = time.monotonic() - began
    ending.set()
    trading.join()
    return Trial(
        number=number,
        killed=killed,
        state=runs[run_id],
        tries=max(tries for _, tries in airflow.tasks(DAG_ID, run_id).values()),
        took_s=took,
        lost=settle(shop, database),
        asked=reader.asked - asked,
        wrong=len(reader.wrong) - wrong,
        kept=len(database.names()),
    )


def kill_one(airflow: "Airflow", run_id: str, task: str, *, after_s: float) -> str:
    """Kill the task so long after it began; where it has ended by then, whichever is at work next."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    drawn_at = None
    while time.monotonic() < deadline and airflow.runs(DAG_ID)[run_id] not in {"success", "failed"}:
        working = airflow.working(DAG_ID)
        if drawn_at is None and any(name == task for name, _ in working):
            drawn_at = time.monotonic()
        if drawn_at is not None and time.monotonic() - drawn_at >= after_s and working:
            named = [one for one in working if one[0] == task] or working
            os.kill(named[0][1], signal.SIGKILL)
            return f"{named[0][0]} after {after_s:.2f} s"
        time.sleep(0.02)
    return "nobody"


def settle(shop: Shop, database: VectorDatabase) -> int:
    """Wait until what is served is what the shop last said; return how many products differ in the end."""
    wanted, deadline = shop.expected(), time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            held = {
                row.product_id: (row.fingerprint.version, row.vector.tobytes())
                for page in database.open(ALIAS).rows()
                for row in page
                if not row.fingerprint.deleted
            }
        except StoreUnavailable:  # it was away, and this client has not noticed that it is back
            held = {}
        differing = {key for key in wanted.keys() | held.keys() if wanted.get(key) != held.get(key)}
        if not differing or time.monotonic() > deadline:
            return len(differing)
        time.sleep(0.5)


if __name__ == "__main__":
    typer.run(main)
