"""What several stories do on the way: rebuild an index, work off a stream."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from product_index.canary import Verdict, check_collection
from product_index.catalog import Catalogue
from product_index.encoder import Encoder
from product_index.pictures import Pictures
from product_index.product import ProductChange
from product_index.publish import switch
from product_index.rebuild import begin, embed_shard, load_shards
from product_index.receipt import Receipt
from product_index.refresh import apply_changes
from product_index.vector_store import VectorDatabase, VectorStore
from streaming.batching import Worked
from streaming.build import FollowAlias
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.worker import Pace, Totals, Worker

from .conftest import NOON, Parts


def rebuild(
    catalogue: Catalogue,
    database: VectorDatabase,
    encoder: Encoder,
    pictures: Pictures,
    *,
    alias: str,
    folder: Path,
    now: datetime = NOON,
) -> Verdict:
    """What the nightly DAG does, step by step, with one product per snapshot part."""
    plan = begin(catalogue, encoder, alias=alias, folder=folder, now=now, seed="journey", part_rows=1)
    for number in range(len(plan.shards)):
        embed_shard(plan, number, encoder, pictures, now=now)
    store = load_shards(plan, database)
    verdict = check_collection(plan, store, encoder, pictures, chance=np.random.default_rng(7))
    switch(database, alias, plan.collection)
    return verdict


def publish(parts: Parts, topic: str, changes: Sequence[ProductChange]) -> None:
    """What a shop does when products change."""
    parts.sink.send(
        [
            Outgoing(topic=topic, key=key, value=value)
            for key, value in (encode_change(change) for change in changes)
        ]
    )


def consume(
    parts: Parts, topic: str, store: VectorStore | None, pictures: Pictures, *, messages: int
) -> Totals:
    """What `python -m streaming consume` does, until it has worked off so many."""
    done = Counter[str]()

    def worked(batch: Worked) -> None:
        done["messages"] += batch.messages

    def into_store(changes: Sequence[ProductChange]) -> Receipt:
        assert store is not None
        return apply_changes(changes, parts.encoder, store, pictures, now=NOON)

    follow = FollowAlias(parts.database, parts.alias, parts.encoder, pictures, now=lambda: NOON)
    worker = Worker(
        changes=parts.change_log(topic),
        sink=parts.sink,
        apply=follow if store is None else into_store,
        pace=Pace(batch_wait_s=0.0, idle_s=0.1),
        worked=worked,
    )
    return worker.run(stop=lambda: done["messages"] >= messages, max_idle_s=parts.patience_s)
