"""A broker that encrypts and asks who is there by SCRAM: the settings alone let every client in."""

import ipaddress
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.local_broker import LocalBroker
from streaming.errors import LogUnavailable
from streaming.kafka import KafkaMessageSink
from streaming.settings import Settings

from .guarded import a_program_never_says, every_client_goes_round, guarded_broker

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


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = certificate(folder, "broker")
    asked = (
        "{listener}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="index" password="{PASSWORD}";',
        f"ssl.keystore.type=PEM\nssl.keystore.location={folder / 'broker.pem'}",
        f"ssl.truststore.type=PEM\nssl.truststore.location={folder / 'broker.crt'}",
    )
    with guarded_broker(
        folder,
        lambda started: settings(started, authority),
        protocol="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        more=asked,
        format_=[f"--add-scram=SCRAM-SHA-512=[name=index,password={PASSWORD}]"],
    ) as started:
        yield started, authority


def environment(broker: LocalBroker, authority: Path) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": broker.bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "index",
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CAFILE": str(authority),
        "TOPIC_PARTITIONS": "1",
    }


def settings(broker: LocalBroker, authority: Path) -> Settings:
    told = environment(broker, authority)
    return Settings(**{name.lower(): value for name, value in told.items()})  # type: ignore[arg-type]


def test_every_client_is_let_in_by_the_settings(
    broker: tuple[LocalBroker, Path], unique_name: Callable[[str], str]
) -> None:
    """Written, read as a member, acknowledged, and asked about; all of it encrypted."""
    every_client_goes_round(settings(*broker), unique_name("changes"))


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
    a_program_never_says(PASSWORD, tmp_path, environment(*broker))
