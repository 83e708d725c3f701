"""A worker on twins, and what the tests of the stream say over and over."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from product_index.encoder import HashEncoder
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from product_index.vector_store import CollectionSpec, InMemoryVectorDatabase, VectorStore
from streaming.change_log import InMemoryChangeLog, InMemoryTopics, Message, Outgoing
from streaming.worker import Pace, Totals, Worker

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOPIC = "product-changes"


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


class Bench:
    """A worker on the in-memory twins, with a clock that only moves when someone sleeps."""

    def __init__(self, pictures: dict[str, bytes] | None = None) -> None:
        self.topics = InMemoryTopics()
        self.encoder = HashEncoder()
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
            now=lambda: NOON + timedelta(minutes=1),
            steady_s=steady_s,
            sleep=sleep,
        )
        return worker.run(stop=options.pop("stop", lambda: False), max_idle_s=0.0)

    def version_of(self, product_id: str) -> int:
        """What the index holds."""
        return self.store.fingerprints([product_id])[product_id].version


@pytest.fixture
def bench() -> Bench:
    """A fresh bench."""
    return Bench()
