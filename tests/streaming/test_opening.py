"""A client that cannot be opened leaves nothing behind."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.errors import LogUnavailable
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, KafkaTopicReader, ensure_topics

from .members import eventually

FILES = Path("/proc/self/fd")
OPENERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "member": lambda connection: KafkaChangeLog(connection, ["changes"], group="g"),
    "reader": lambda connection: KafkaTopicReader(connection, ["changes"], group="g"),
    "sink": KafkaMessageSink,
    "admin": lambda connection: ensure_topics(connection, ["changes"], partitions=1),
}


@pytest.fixture
def silent_broker() -> Iterator[dict[str, Any]]:
    """Takes connections, and never says a word: a broker that is just starting, or not one."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        port = listening.getsockname()[1]
        yield {"bootstrap_servers": [f"127.0.0.1:{port}"], "bootstrap_timeout_ms": 200}


@pytest.mark.parametrize("opening", OPENERS.values(), ids=OPENERS.keys())
def test_a_client_that_is_refused_leaves_no_thread_and_no_file(
    opening: Callable[[dict[str, Any]], object], silent_broker: dict[str, Any]
) -> None:
    """kafka-python left a thread and three files at every try of whoever waits for a broker."""
    if not FILES.exists():
        pytest.skip("/proc is not here: nobody counts the files of a process")
    gc.collect()
    threads, files = threading.active_count(), len(os.listdir(FILES))

    for _ in range(3):
        with pytest.raises(LogUnavailable):
            opening(silent_broker)

    def nothing_is_left() -> bool:  # what others left before may end meanwhile
        gc.collect()
        return threading.active_count() <= threads and len(os.listdir(FILES)) <= files

    eventually(nothing_is_left)
