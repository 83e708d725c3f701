"""What the environment may say about recall. Read once, at the door.

The index's own settings (MILVUS_URI, UNIECS_MODEL, PRODUCT_ALIAS) are
product_index's; a channel that needs them reads them there.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from product_index.settings import what_is_wrong

from .errors import InvalidSettings

PREFIX = "RECALL_"

Cosine = Annotated[float, Field(ge=-1, le=1)]


class Settings(BaseSettings):
    """Recall, by environment or `.env`.

    Attributes:
        experiment: the flag that decides.
        experiments: folder of definitions, *.toml; the packaged ones without.
        grace_ms: how long the join waits for channels once the base is ready.
        budget_ms: after this a channel's answer can be of no use: it gives up.
        in_flight: requests at a time per channel; more are shed.
        switches: the kill switches' file (see `recall_plugin.switches`).
        strict_channels: a channel that cannot be loaded is an error, not a warning.
        floor_text, floor_image, floor_both: cosine below which a hit is not
            relevant, per query kind; -1 is no floor.
        follow_alias_ms: how often the product alias is looked up.
        query_cache: how many query vectors are kept.
        events: a folder that exposures, outcomes and marks go to, as JSON Lines; else they go to Kafka.
        kafka_bootstrap: where exposures and outcomes go.
        group_separator: product ids are `group<separator>variant`, and a group is
            recalled once; no groups without.
        override_secret: testers' tokens are signed with it; no override is taken without.
        counterfactual_share: of the searches, in both arms, for which the page
            that was not served is learnt, after the answer.
        log_assigned: also log that a unit has an arm, once a session.
        channels_in: channels run in a `sidecar`, or in this `process`: there an
            overloaded channel slows the funnel although nobody waits for it.
        sidecar_socket: where the sidecar listens; a path of this user's without.
        sidecar_start: start a sidecar where none answers; without it, the host's
            process manager does.
        host, port: where `serve` listens.
        token: who sends it as `Authorization: Bearer` may change what the service does.
        wait_ms: how long POST /recall waits for channels, where the request does not say.
        ahead_ms: how long what POST /recall/ahead began waits for its base; then it is given up.
        sidecar_gives_way: the sidecar runs only where nobody else of this session, container or unit
            wants a processor; false where they are never idle, or it has processors of its own.
        sidecar_in_flight: the most questions at a time per channel that its limit grows to.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    experiment: str = "uniecs-recall"
    experiments: Path | None = Field(default=None, validation_alias="EXPERIMENTS")
    grace_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    budget_ms: Annotated[float, Field(gt=0, le=60_000)] = 1_000.0
    in_flight: Annotated[int, Field(ge=1, le=256)] = 8
    switches: Path | None = None
    strict_channels: bool = False
    floor_text: Cosine = -1.0
    floor_image: Cosine = -1.0
    floor_both: Cosine = -1.0
    follow_alias_ms: Annotated[float, Field(gt=0, le=60_000)] = 500.0
    query_cache: Annotated[int, Field(ge=1)] = 20_000
    events: Path | None = None
    kafka_bootstrap: str = Field(default="", validation_alias="KAFKA_BOOTSTRAP")
    group_separator: str = ""
    override_secret: SecretStr = SecretStr("")
    counterfactual_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    log_assigned: bool = False
    channels_in: Literal["sidecar", "process"] = "sidecar"
    sidecar_socket: Path | None = None
    sidecar_start: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    token: SecretStr = SecretStr("")
    wait_ms: Annotated[float, Field(ge=0, le=10_000)] = 50.0
    ahead_ms: Annotated[float, Field(gt=0, le=60_000)] = 10_000.0
    sidecar_gives_way: bool = True
    sidecar_in_flight: Annotated[int, Field(ge=1, le=512)] = 64


def read_settings() -> Settings:
    """The settings of this environment.

    Raises:
        InvalidSettings: naming each variable, its value and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings(what_is_wrong(error, prefix=PREFIX)) from error
