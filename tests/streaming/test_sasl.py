"""A broker that asks who is there: settings reach every client, and secrets nobody."""

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.local_broker import LocalBroker
from streaming.settings import Settings

from .guarded import a_program_never_says, every_client_goes_round, guarded_broker
from .test_programs import TIMEOUT_S, Programs

pytestmark = pytest.mark.kafka

PASSWORD = f"right-{secrets.token_hex(8)}"
WRONG = f"wrong-{secrets.token_hex(8)}"
ASKED = (
    "{listener}.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="broker" password="{PASSWORD}" user_broker="{PASSWORD}" user_index="{PASSWORD}";'
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    folder = tmp_path_factory.mktemp("sasl")
    plain = guarded_broker(folder, trusted, protocol="SASL_PLAINTEXT", mechanism="PLAIN", more=[ASKED])
    with plain as started:
        yield started


def environment(broker: LocalBroker, password: str = PASSWORD) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": broker.bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "index",
        "KAFKA_SASL_PASSWORD": password,
        "TOPIC_PARTITIONS": "1",
    }


def trusted(broker: LocalBroker) -> Settings:
    return Settings(**{name.lower(): value for name, value in environment(broker).items()})  # type: ignore[arg-type]


def test_every_client_is_let_in_by_the_settings(
    broker: LocalBroker, unique_name: Callable[[str], str]
) -> None:
    """Written, read as a member, acknowledged, and asked about."""
    every_client_goes_round(trusted(broker), unique_name("changes"))


def test_a_program_is_let_in_and_never_says_the_password(broker: LocalBroker, tmp_path: Path) -> None:
    """Neither on standard output nor on standard error."""
    a_program_never_says(PASSWORD, tmp_path, environment(broker))


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
    told = Programs(tmp_path, **environment(broker, WRONG)).environment

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=told, timeout=TIMEOUT_S)

    said = done.stdout.decode()
    assert "LogUnavailable" in done.stderr.decode()
    assert "check KAFKA_BOOTSTRAP, KAFKA_SASL_*" in said
    assert broker.bootstrap in said
    assert WRONG not in said + done.stderr.decode()
