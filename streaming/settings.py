"""What the environment may say to this room's programs. Read once, at the door."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from product_index.settings import what_is_wrong

from .errors import InvalidSettings


class Settings(BaseSettings):
    """Kafka and the consumers, by environment or `.env`; what belongs to the index is read by its own room.

    Attributes:
        kafka_bootstrap: brokers, `host:port`, comma between.
        kafka_security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        kafka_sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI.
        kafka_sasl_username: who logs in.
        kafka_sasl_password: with which password.
        kafka_ssl_cafile: who vouches for the broker's certificate.
        kafka_ssl_certfile: the client's certificate.
        kafka_ssl_keyfile: its key.
        kafka_ssl_password: the key's password.
        changes_topic: product changes; what cannot be read goes to the topic of this name and `.dead`.
        changes_mapping: a TOML file where the topic carries rows of a table (Debezium), see
            docs/schemas/debezium.toml.
        exposures_topic: what was served.
        outcomes_topic: what shoppers did next.
        consumer_group: the group whose members share the partitions.
        consumer_instance_id: a fixed name per consumer lets a restart take its partitions back
            without a rebalance.
        consumer_session_timeout_s: a member not heard of for so long has left.
        consumer_max_poll_interval_s: a member that does not poll for so long loses its partitions;
            a slow batch is no reason, see `patience`.
        consumer_picture_patience_s: a picture's host that is away is waited for so long, and the whole
            stream with it; the nightly rebuild has more patience (PICTURE_PATIENCE_S), and asks
            again for what was missing.
        archive_group: the group of the archive.
        topic_partitions: of topics that are missing and made by us; one consumer at most per partition.
        batch_size: the most changes in a batch.
        backlog_batch_size: a backlog of what needs no encoder goes in batches of up to so many; equal
            to BATCH_SIZE it never does.
        batch_wait_s: how long a batch waits to fill.
        experiment_logs: where the archive writes.

    >>> Settings(kafka_bootstrap="a:9092, b:9092").connection()["bootstrap_servers"]
    ['a:9092', 'b:9092']
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None
    ) = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_password: SecretStr | None = None

    changes_topic: str = "product-changes"
    changes_mapping: Path | None = None
    exposures_topic: str = "search-exposures"
    outcomes_topic: str = "search-outcomes"
    consumer_group: str = "uniecs-index"
    consumer_instance_id: str | None = None
    consumer_session_timeout_s: float = Field(default=10.0, ge=6.0, le=300.0)
    consumer_max_poll_interval_s: float = Field(default=300.0, ge=6.0, le=3600.0)
    consumer_picture_patience_s: float = Field(default=60.0, ge=0.0, le=3600.0)
    archive_group: str = "uniecs-archive"
    topic_partitions: int = Field(default=6, ge=1, le=1000)

    batch_size: int = Field(default=64, ge=1, le=1024)
    backlog_batch_size: int = Field(default=4096, ge=1, le=10_000)
    batch_wait_s: float = Field(default=0.1, ge=0.0, le=10.0)

    experiment_logs: Path = Path(".demo/experiment-logs")

    def connection(self) -> dict[str, Any]:
        """What every Kafka client is opened with. Holds secrets: never log it."""
        told = {
            "bootstrap_servers": [one.strip() for one in self.kafka_bootstrap.split(",") if one.strip()],
            "security_protocol": self.kafka_security_protocol,
            "sasl_mechanism": self.kafka_sasl_mechanism,
            "sasl_plain_username": self.kafka_sasl_username,
            "sasl_plain_password": _revealed(self.kafka_sasl_password),
            "ssl_cafile": _text(self.kafka_ssl_cafile),
            "ssl_certfile": _text(self.kafka_ssl_certfile),
            "ssl_keyfile": _text(self.kafka_ssl_keyfile),
            "ssl_password": _revealed(self.kafka_ssl_password),
        }
        return {name: value for name, value in told.items() if value is not None}


def read_settings() -> Settings:
    """The settings of this environment.

    Raises:
        InvalidSettings: naming each variable, its value and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings(what_is_wrong(error)) from error


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
