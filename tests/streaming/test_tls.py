"""A broker that encrypts and asks who is there by SCRAM: the settings alone let every client in."""

import ipaddress
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.local_broker import LocalBroker
from demo.kafka_broker import server_properties
from streaming.build import group_lag
from streaming.change_log import Outgoing
from streaming.errors import LogUnavailable, StreamingError
from streaming.kafka import KafkaChangeLog, KafkaMessageSink, ensure_topics
from streaming.settings import Settings

from .making import change_json
from .test_programs import Programs

pytest.importorskip("cryptography", reason="the package cryptography makes the broker's certificate")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.kafka

PASSWORD = f"right-{secrets.token_hex(8)}"


def certificate(folder: Path, name: str) -> Path:
    """A certificate for this machine that vouches for itself; `name.pem` holds its key, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker of this test")])
    here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.pem").write_bytes(private + made.public_bytes(encoding))
    (folder / f"{name}.crt").write_bytes(made.public_bytes(encoding))
    return folder / f"{name}.crt"


def properties(folder: Path) -> Callable[[int, int], str]:
    """The broker of the demo, but it speaks TLS and asks for a name and a password."""

    def told(port: int, controller_port: int) -> str:
        plain = server_properties(port=port, controller_port=controller_port, folder=folder.resolve())
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        asked = (
            plain.replace(f"PLAINTEXT://127.0.0.1:{port}", f"SASL_SSL://127.0.0.1:{port}")
            .replace("map=PLAINTEXT:PLAINTEXT", "map=SASL_SSL:SASL_SSL")
            .replace("inter.broker.listener.name=PLAINTEXT", "inter.broker.listener.name=SASL_SSL")
        )
        return (
            f"{asked}sasl.enabled.mechanisms=SCRAM-SHA-512\nsasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n"
            f'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module} username="index" '
            f'password="{PASSWORD}";\n'
            f"ssl.keystore.type=PEM\nssl.keystore.location={folder / 'broker.pem'}\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={folder / 'broker.crt'}\n"
        )

    return told


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, Path]]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP names a broker; this test starts its own")
    folder = tmp_path_factory.mktemp("tls")
    authority = certificate(folder, "broker")
    user = f"--add-scram=SCRAM-SHA-512=[name=index,password={PASSWORD}]"
    started = LocalBroker(folder, properties=properties(folder), format_=[user])
    connection = settings(started, authority).connection()

    def answers() -> bool:
        try:
            ensure_topics({**connection, "bootstrap_timeout_ms": 2_000}, [], partitions=1)
        except StreamingError:
            return False
        return True

    try:
        started.start(answers=answers)
        yield started, authority
    finally:
        started.stop()


def environment(broker: LocalBroker, authority: Path) -> dict[str, str]:
    return {
        "kafka_bootstrap": broker.bootstrap,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": "index",
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_cafile": str(authority),
    }


def settings(broker: LocalBroker, authority: Path) -> Settings:
    return Settings(**environment(broker, authority))  # type: ignore[arg-type]


def test_every_client_is_let_in_by_the_settings(
    broker: tuple[LocalBroker, Path], unique_name: Callable[[str], str]
) -> None:
    """Written, read as a member, acknowledged, and asked about; all of it encrypted."""
    connection, topic = settings(*broker).connection(), unique_name("changes")
    ensure_topics(connection, [topic], partitions=1)
    with closing(KafkaMessageSink(connection)) as sink:
        sink.send([Outgoing(topic=topic, key=b"mug-1", value=change_json())])
    with closing(KafkaChangeLog(connection, [topic], group="g", session_timeout_s=6.0)) as changes:
        found = []
        while not found:
            found = changes.poll(timeout_s=1.0, max_messages=1)
        changes.commit({found[0].source: 1})

    assert [0] == [one.behind for one in group_lag(connection, [topic], group="g")]


def test_a_broker_that_another_vouches_for_is_not_talked_to(
    broker: tuple[LocalBroker, Path], tmp_path: Path
) -> None:
    """Somebody else's certificate: no password is sent."""
    stranger = certificate(tmp_path, "stranger")
    connection = settings(broker[0], stranger).connection()

    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1"):
        KafkaMessageSink({**connection, "bootstrap_timeout_ms": 2_000})


def test_a_program_is_let_in_and_never_says_the_password(
    broker: tuple[LocalBroker, Path], tmp_path: Path
) -> None:
    """Neither on standard output nor on standard error."""
    told = {name.upper(): value for name, value in environment(*broker).items()}

    done = Programs(tmp_path, **told, TOPIC_PARTITIONS="1").run("publish", "-", told=change_json())

    said = (done.stdout + done.stderr).decode()
    assert (0, "1 changes published") == (done.returncode, done.stdout.decode()[:19]), said
    assert PASSWORD not in said
