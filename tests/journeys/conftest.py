"""The parts that a journey needs: the in-memory twins, or milvus-lite and Kafka.

The stories are told once; each runs on both.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from product_index.catalog import Catalogue, open_catalogue
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import LocalPictures, pictures_beside
from product_index.vector_store import VectorDatabase
from streaming.change_log import ChangeLog, MessageSink, TopicReader
from streaming.dead_letters import SUFFIX
from streaming.in_memory import InMemoryChangeLog, InMemoryTopicReader, InMemoryTopics

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROWS = [
    {"id": "mug", "title": "Striped red mug", "price": 9.5, "category": "Kitchen", "image": "mug.jpg"},
    {"id": "lamp", "title": "Desk lamp", "price": 30, "category": "Home", "image": "lamp.jpg"},
    {"id": "scarf", "title": "Woollen scarf", "price": 25, "category": "Clothing"},
    {"id": "vase", "title": "Blue vase", "category": "Home", "image": "vase.jpg"},
]


@dataclass(kw_only=True)
class Parts:
    """What a journey is walked with.

    Attributes:
        alias: what readers follow; a name of this test's own.
        topic: makes a topic of this test's own, and the one for its dead letters.
    """

    database: VectorDatabase
    alias: str
    sink: MessageSink
    topic: Callable[[str], str]
    change_log: Callable[[str], ChangeLog]
    reader: Callable[[Sequence[str]], TopicReader]
    # How long a consumer waits for what must come: a test that waits so long fails.
    patience_s: float
    encoder: HashEncoder = field(default_factory=HashEncoder)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Four products, three of them with a picture (any bytes are one to the twin encoder)."""
    folder = tmp_path / "catalogue"
    (folder / "images").mkdir(parents=True)
    for row in ROWS:
        if "image" in row:
            (folder / "images" / str(row["image"])).write_bytes(f"photo of {row['id']}".encode())
    (folder / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return open_catalogue(folder)


@pytest.fixture
def pictures(catalogue: Catalogue) -> LocalPictures:
    """Where the catalogue keeps them."""
    return pictures_beside(catalogue.picture_root)


@pytest.fixture(
    params=["twins", pytest.param("real", marks=[pytest.mark.milvus, pytest.mark.kafka, pytest.mark.slow])]
)
def parts(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> Iterator[Parts]:
    """In-memory twins; or milvus-lite's server and Apache Kafka."""
    if request.param == "twins":
        topics = InMemoryTopics()
        yield Parts(
            database=InMemoryVectorDatabase(),
            alias="products",
            sink=topics,
            topic=str,
            change_log=lambda topic: InMemoryChangeLog(topics, topic),
            reader=lambda names: InMemoryTopicReader(topics, names),
            patience_s=0.0,
        )
        return
    from product_index.milvus import MilvusVectorDatabase
    from streaming.kafka import KafkaChangeLog, KafkaMessageSink, KafkaTopicReader, ensure_topics

    uri = request.getfixturevalue("milvus_lite_server")
    connection = {"bootstrap_servers": [request.getfixturevalue("kafka_bootstrap")]}
    tail = unique_name("journey")
    with ExitStack() as closing:

        def topic(name: str) -> str:
            full = f"{name}-{tail}"
            ensure_topics(connection, [full, full + SUFFIX], partitions=2)
            return full

        database = MilvusVectorDatabase(uri, timeout_s=120)
        closing.callback(database.close)
        sink = KafkaMessageSink(connection)
        closing.callback(sink.close)

        def change_log(name: str) -> ChangeLog:
            log = KafkaChangeLog(connection, [name], group=tail, session_timeout_s=60.0)
            closing.callback(log.close)
            return log

        def reader(names: Sequence[str]) -> TopicReader:
            found = KafkaTopicReader(connection, names, group=tail)
            closing.callback(found.close)
            return found

        yield Parts(
            database=database,
            alias=tail.replace("-", "_"),
            sink=sink,
            topic=topic,
            change_log=change_log,
            reader=reader,
            patience_s=120.0,
        )
