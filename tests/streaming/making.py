"""What the tests of the stream make over and over: changes, events, and a worker on twins."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from experiments.exposure import Exposure, Outcome, ServedProduct
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.refresh import apply_changes
from product_index.vector_store import CollectionSpec, VectorStore
from streaming.change_log import Message, Outgoing
from streaming.in_memory import InMemoryChangeLog, InMemoryTopics
from streaming.worker import Pace, Totals, Worker

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOPIC = "product-changes"
START = datetime(2026, 11, 19, 22, tzinfo=UTC)


def change_json(product_id: Any = "mug-1", *, version: Any = 1, **changes: Any) -> bytes:
    """A good change, with some fields replaced; a field set to `...` is left out."""
    second = version if isinstance(version, int) and 0 <= version < 3600 else 0
    fields = {
        "schema_version": 1,
        "op": "upsert",
        "product_id": product_id,
        "version": version,
        "occurred_at": (NOON + timedelta(seconds=second)).isoformat(),
        "title": f"red mug, mark {version}",
        "price": 9.5,
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def put(topics: InMemoryTopics, value: bytes | None, *, key: str = "mug-1", **more: Any) -> Message:
    """Write a change as a producer would."""
    message = Outgoing(topic=TOPIC, key=key.encode(), value=value, **more)
    return topics.append(message, timestamp_ms=int(NOON.timestamp() * 1000))


def full_change() -> ProductChange:
    """A change that fills every field."""
    product = Product(
        product_id="mug-1",
        title="Rote Tasse ☕",
        description="300 ml",
        attributes={"colour": "red"},
        category="kitchen",
        brand="Nordlys",
        price=9.5,
        currency="EUR",
        in_stock=False,
        image_uris=("images/mug-1.jpg",),
    )
    return ProductChange(product_id="mug-1", version=3, occurred_at=NOON, product=product)


def exposure(number: int) -> Exposure:
    """One of many, twenty minutes apart."""
    return Exposure(
        event_id=f"e{number}",
        experiment="uniecs-recall",
        variant="treatment",
        unit_id=f"u{number}",
        session_id="s",
        query_id=f"q{number}",
        query="red mug",
        query_kind="text",
        occurred_at=START + timedelta(minutes=number * 20),
        served=(
            ServedProduct(
                product_id="mug-1",
                position=1,
                channels=("base", "uniecs"),
                rank_per_channel={"base": 2, "uniecs": 1},
            ),
        ),
        counterfactual=("cup-2", "cup-3"),
        triggered=None if number % 2 else True,
        latency_ms=12.5,
    )


def click(number: int) -> Outcome:
    """One of many."""
    return Outcome(
        event_id=f"o{number}",
        kind="click",
        unit_id=f"u{number}",
        product_id="mug-1",
        occurred_at=START,
        position=1,
    )


class Bench:
    """A worker on the in-memory twins, with a clock that only moves when someone sleeps."""

    def __init__(self, pictures: dict[str, bytes] | None = None, *, encoder: Any = None) -> None:
        self.topics = InMemoryTopics()
        self.encoder = encoder or HashEncoder()
        spec = CollectionSpec(
            dimension=self.encoder.dimension,
            model_id=self.encoder.model_id,
            preprocess_version=self.encoder.preprocess_version,
        )
        self.store: VectorStore = InMemoryVectorDatabase().create("green", spec)
        self.pictures = NoPictures(pictures or {})
        self.changes = InMemoryChangeLog(self.topics, TOPIC)
        self.steady_s = 0.0
        self.arrivals: list[Any] = []

    def apply(self, changes: Any) -> Any:
        """The real path of the index."""
        return apply_changes(changes, self.encoder, self.store, self.pictures, now=NOON)

    def restart(self) -> None:
        """The consumer died: a new one starts at what was acknowledged."""
        self.changes = InMemoryChangeLog(self.topics, TOPIC)

    def run(self, *, apply: Callable[..., Any] | None = None, sink: Any = None, **options: Any) -> Totals:
        """Work until nothing is left."""

        def sleep(seconds: float) -> None:
            self.steady_s += seconds

        def steady_s() -> float:
            self.steady_s += 0.001
            return self.steady_s

        worker = Worker(
            changes=self.changes,
            sink=sink or self.topics,
            apply=apply or self.apply,
            pace=options.pop("pace", Pace(batch_wait_s=0.0)),
            arrived=self.arrivals.extend,
            worked=options.pop("worked", lambda _worked: None),
            now=lambda: NOON + timedelta(minutes=1),
            steady_s=steady_s,
            sleep=sleep,
        )
        return worker.run(stop=options.pop("stop", lambda: False), max_idle_s=0.0)

    def version_of(self, product_id: str) -> int:
        """What the index holds."""
        return self.store.fingerprints([product_id])[product_id].version
