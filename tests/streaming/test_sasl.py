"""A broker that asks who is there: settings reach every client, and secrets nobody."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.local_broker import LocalBroker
from demo.kafka_broker import server_properties
from streaming.build import group_lag
from streaming.change_log import Outgoing
from streaming.errors import StreamingError
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, ensure_topics
from streaming.settings import Settings

from .making import change_json
from .test_programs import Programs

pytestmark = pytest.mark.kafka

PASSWORD = f"right-{secrets.token_hex(8)}"
WRONG = f"wrong-{secrets.token_hex(8)}"


def properties(folder: Path) -> Callable[[int, int], str]:
    """The broker of the demo, but it asks for a name and a password."""

    def told(port: int, controller_port: int) -> str:
        plain = server_properties(port=port, controller_port=controller_port, folder=folder.resolve())
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        asked = (
            plain.replace(f"PLAINTEXT://127.0.0.1:{port}", f"SASL_PLAINTEXT://127.0.0.1:{port}")
            .replace("map=PLAINTEXT:PLAINTEXT", "map=SASL_PLAINTEXT:SASL_PLAINTEXT")
            .replace("inter.broker.listener.name=PLAINTEXT", "inter.broker.listener.name=SASL_PLAINTEXT")
        )
        return (
            f"{asked}sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
            f'listener.name.sasl_plaintext.plain.sasl.jaas.config={login} username="broker" '
            f'password="{PASSWORD}" user_broker="{PASSWORD}" user_index="{PASSWORD}";\n'
        )

    return told


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP names a broker; this test starts its own")
    folder = tmp_path_factory.mktemp("sasl")
    started = LocalBroker(folder, properties=properties(folder))
    settings = trusted(started)

    def answers() -> bool:
        try:
            ensure_topics({**settings.connection(), "bootstrap_timeout_ms": 2_000}, [], partitions=1)
        except StreamingError:
            return False
        return True

    try:
        started.start(answers=answers)
        yield started
    finally:
        started.stop()


def trusted(broker: LocalBroker) -> Settings:
    return Settings(
        kafka_bootstrap=broker.bootstrap,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="index",
        kafka_sasl_password=PASSWORD,  # type: ignore[arg-type]
    )


def test_every_client_is_let_in_by_the_settings(
    broker: LocalBroker, unique_name: Callable[[str], str]
) -> None:
    """Written, read as a member, acknowledged, and asked about."""
    connection, topic = trusted(broker).connection(), unique_name("changes")
    ensure_topics(connection, [topic], partitions=1)
    with closing(KafkaMessageSink(connection)) as sink:
        sink.send([Outgoing(topic=topic, key=b"mug-1", value=change_json())])
    with closing(KafkaChangeLog(connection, [topic], group="g", session_timeout_s=6.0)) as changes:
        found = []
        while not found:
            found = changes.poll(timeout_s=1.0, max_messages=1)
        changes.commit({found[0].source: 1})

    assert [0] == [one.behind for one in group_lag(connection, [topic], group="g")]


def test_a_program_is_let_in_and_never_says_the_password(broker: LocalBroker, tmp_path: Path) -> None:
    """Neither on standard output nor on standard error."""
    done = programs(broker, tmp_path, PASSWORD).run("publish", "-", told=change_json())

    said = (done.stdout + done.stderr).decode()
    assert (0, "1 changes published") == (done.returncode, done.stdout.decode()[:19]), said
    assert PASSWORD not in said


def test_a_wrong_password_is_told_with_what_to_check_and_not_repeated(
    broker: LocalBroker, tmp_path: Path
) -> None:
    """Nor by the client's own log lines, nor by any cause in the chain."""
    code = (
        "import logging, traceback; logging.basicConfig(level=logging.INFO)\n"
        "from streaming.kafka import KafkaMessageSink; from streaming.settings import read_settings\n"
        "try: KafkaMessageSink({**read_settings().connection(), 'bootstrap_timeout_ms': 2000})\n"
        "except Exception as error: print(error); traceback.print_exc()\n"
    )
    environment = programs(broker, tmp_path, WRONG).environment

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=90)

    said = done.stdout.decode()
    assert "LogUnavailable" in done.stderr.decode()
    assert "check KAFKA_BOOTSTRAP, KAFKA_SASL_*" in said
    assert broker.bootstrap in said
    assert WRONG not in said + done.stderr.decode()


def programs(broker: LocalBroker, folder: Path, password: str) -> Programs:
    return Programs(
        folder,
        KAFKA_BOOTSTRAP=broker.bootstrap,
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_SASL_MECHANISM="PLAIN",
        KAFKA_SASL_USERNAME="index",
        KAFKA_SASL_PASSWORD=password,
        TOPIC_PARTITIONS="1",
    )
