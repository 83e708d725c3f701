"""The nightly run and the consumer give the same product the same vector, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.goods import write_goods
from product_index.build import build_encoder
from product_index.catalog import Catalogue, open_catalogue
from product_index.embedding import spec_of
from product_index.encoder import Encoder, HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import LocalPictures, pictures_beside
from product_index.product import ProductChange
from product_index.rebuild import begin, embed_shard, load_shards
from product_index.refresh import apply_changes
from product_index.settings import Settings
from product_index.vector_store import VectorStore
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.in_memory import InMemoryChangeLog, InMemoryTopics
from streaming.worker import Pace, Worker

from .conftest import NOON, Parts
from .walking import consume, publish, rebuild


def test_batch_and_stream_agree(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """One embedding path: only who wrote a row, and when, may differ."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    nightly = parts.database.open(parts.alias)
    streamed = parts.database.create(f"{parts.alias}_streamed", spec_of(parts.encoder))
    topic = parts.topic("product-changes")

    publish(parts, topic, [change for page in catalogue.pages() for change in page])
    consume(parts, topic, streamed, pictures, messages=4)

    night = {row.product_id: row for page in nightly.rows() for row in page}
    stream = {row.product_id: row for page in streamed.rows() for row in page}
    assert {"mug", "lamp", "scarf", "vase"} == set(night) == set(stream)
    for product_id, row in night.items():
        assert np.array_equal(row.vector, stream[product_id].vector), product_id
        assert row.fingerprint == stream[product_id].fingerprint, product_id


def test_what_batch_has_written_costs_the_stream_nothing(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """The same versions again are stale; newer ones with the same content call no encoder."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    topic = parts.topic("product-changes")
    rows = [change for page in catalogue.pages() for change in page]

    publish(parts, topic, rows)
    again = consume(parts, topic, None, pictures, messages=4)

    assert {"stale": 4} == dict(again.by_class)


@pytest.mark.parametrize(("kind", "count"), [("hash", 5_000), ("demo/model", 250)])
def test_many_products_with_their_dirt_agree(kind: str, count: int, tmp_path: Path) -> None:
    """However they were cut into batches, in whatever order they came, and with older versions between.

    All 5,000 with the committed encoder: `python -m benchmarks.bulk`.
    """
    catalogue = open_catalogue(write_goods(tmp_path / "goods", count, pictures=count // 8))
    encoder = HashEncoder() if kind == "hash" else build_encoder(Settings(uniecs_model=kind))
    changes = [change for page in catalogue.pages() for change in page]

    night = at_night(catalogue, encoder, tmp_path)
    stream = in_a_stream(changes, encoder, pictures_beside(catalogue.picture_root or tmp_path))

    assert count == len(changes) == night.count()
    ours, theirs = (
        {row.product_id: row for page in store.rows() for row in page} for store in (night, stream)
    )
    assert set(ours) == set(theirs)
    for product_id, row in ours.items():
        assert row.vector.tobytes() == theirs[product_id].vector.tobytes(), product_id
        assert replace(row, vector=None) == replace(theirs[product_id], vector=None), product_id  # type: ignore[arg-type]


def at_night(catalogue: Catalogue, encoder: Encoder, folder: Path) -> VectorStore:
    plan = begin(catalogue, encoder, alias="products", folder=folder, now=NOON, seed="night")
    for number in range(len(plan.shards)):
        embed_shard(plan, number, encoder, pictures_beside(catalogue.picture_root or folder), now=NOON)
    return load_shards(plan, InMemoryVectorDatabase())


def in_a_stream(changes: list[ProductChange], encoder: Encoder, pictures: LocalPictures) -> VectorStore:
    drawn, topics = np.random.default_rng(11), InMemoryTopics()
    older = [
        replace(change, version=0, product=replace(change.product, title="as it was"))
        for change in changes[::7]
        if change.product is not None
    ]
    both = [*changes, *older]
    for place in drawn.permutation(len(both)):
        key, value = encode_change(both[place])
        topics.send([Outgoing(topic="product-changes", key=key, value=value)])
    store = InMemoryVectorDatabase().create("streamed", spec_of(encoder))
    worker = Worker(
        changes=InMemoryChangeLog(topics, "product-changes"),
        sink=topics,
        apply=lambda batch: apply_changes(batch, encoder, store, pictures, now=NOON),
        pace=Pace(batch_size=int(drawn.integers(20, 90)), batch_wait_s=0.0, idle_s=0.0),
    )
    worker.run(stop=lambda: False, max_idle_s=0.0)
    return store
