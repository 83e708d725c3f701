"""Fixtures of the stream's tests: a bench of twins, and a topic of one's own on a real Kafka."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from streaming.dead_letters import SUFFIX

from .making import Bench

if TYPE_CHECKING:
    from streaming.kafka import KafkaMessageSink  # its client warns of itself before warnings are sorted


@pytest.fixture
def bench() -> Bench:
    """A fresh bench."""
    return Bench()


@pytest.fixture
def connection(kafka_bootstrap: str) -> dict[str, Any]:
    """The way to the broker."""
    return {"bootstrap_servers": [kafka_bootstrap]}


@pytest.fixture
def topic(connection: dict[str, Any], unique_name: Callable[[str], str]) -> str:
    """A topic of two partitions and the one for its dead letters."""
    from streaming.kafka import ensure_topics

    name = unique_name("product-changes")
    ensure_topics(connection, [name, name + SUFFIX], partitions=2)
    return name


@pytest.fixture
def sink(connection: dict[str, Any]) -> "Iterator[KafkaMessageSink]":
    """It writes to that broker."""
    from streaming.kafka import KafkaMessageSink

    with closing(KafkaMessageSink(connection)) as opened:
        yield opened
