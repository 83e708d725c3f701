"""Brokers that ask who is there: started with any settings, and what every client does on one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks.local_broker import LocalBroker
from demo.kafka_broker import server_properties
from streaming.change_log import Outgoing
from streaming.errors import StreamingError
from streaming.kafka import KafkaMessageSink, ensure_topics
from streaming.settings import Settings

from .making import change_json
from .members import behind, joined
from .test_programs import Programs


@contextmanager
def guarded_broker(
    folder: Path,
    trusted: Callable[[LocalBroker], Settings],
    *,
    protocol: str,
    mechanism: str,
    more: Sequence[str],
    format_: Sequence[str] = (),
) -> Iterator[LocalBroker]:
    """The broker of the demo, but it speaks this protocol; up once those settings are let in.

    In `more`, lines of its properties, `{listener}` is the prefix of the mechanism's own.
    """
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP names a broker; this test starts its own")

    def properties(port: int, controller_port: int) -> str:
        plain = server_properties(port=port, controller_port=controller_port, folder=folder.resolve())
        asked = (
            plain.replace(f"PLAINTEXT://127.0.0.1:{port}", f"{protocol}://127.0.0.1:{port}")
            .replace("map=PLAINTEXT:PLAINTEXT", f"map={protocol}:{protocol}")
            .replace("inter.broker.listener.name=PLAINTEXT", f"inter.broker.listener.name={protocol}")
        )
        names = (f"sasl.enabled.mechanisms={mechanism}", f"sasl.mechanism.inter.broker.protocol={mechanism}")
        listener = f"listener.name.{protocol.lower()}.{mechanism.lower()}"
        return asked + "\n".join((*names, *more)).replace("{listener}", listener) + "\n"

    started = LocalBroker(folder, properties=properties, format_=format_)
    connection = {**trusted(started).connection(), "bootstrap_timeout_ms": 30_000}

    def answers() -> bool:
        try:
            ensure_topics(connection, [], partitions=1)
        except StreamingError:
            return False
        return True

    try:
        started.start(answers=answers)
        yield started
    finally:
        started.stop()


def every_client_goes_round(settings: Settings, topic: str) -> None:
    """Written, read as a member, acknowledged, and asked about."""
    connection = settings.connection()
    ensure_topics(connection, [topic], partitions=1)
    with closing(KafkaMessageSink(connection)) as sink:
        sink.send([Outgoing(topic=topic, key=b"mug-1", value=change_json())])
    with closing(joined(connection, topic)) as changes:
        found = []
        while not found:
            found = changes.poll(timeout_s=1.0, max_messages=1)
        changes.commit({found[0].source: 1})

    assert 0 == behind(connection, topic)


def a_program_never_says(secret: str, folder: Path, environment: dict[str, str]) -> None:
    """It publishes, and the secret is neither on standard output nor on standard error."""
    done = Programs(folder, **environment).run("publish", "-", told=change_json())

    said = (done.stdout + done.stderr).decode()
    assert (0, "1 change published") == (done.returncode, done.stdout.decode()[:18]), said
    assert secret not in said
