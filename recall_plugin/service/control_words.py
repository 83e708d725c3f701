"""What the control paths are asked and answer."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from experiments.definition import Experiment
from recall_plugin.channels.state import ChannelState
from recall_plugin.switches import Off

Id = Annotated[str, Field(min_length=1, max_length=1_000)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Health(BaseModel):
    """Whether the process answers."""

    status: Literal["alive"]


class Ready(BaseModel):
    """Whether traffic may be sent."""

    status: Literal["ready"]
    channels: list[str]


class NewTraffic(_Strict):
    """The share of an experiment's slots that takes part. More moves nobody who is in."""

    traffic: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=False)]


class VariantCard(BaseModel):
    """One arm."""

    name: str
    share: float
    channels: list[str]
    merge: str


class ExperimentCard(BaseModel):
    """An experiment, as it is served.

    Attributes:
        serves: it decides in this service.
    """

    name: str
    hypothesis: str
    phase: str
    unit: str
    start: datetime
    traffic: float
    control: str
    variants: list[VariantCard]
    off: bool
    serves: bool


class ChannelCard(BaseModel):
    """A channel: see `recall_plugin.channels.state`."""

    state: str
    in_flight: int
    limit: int
    index_version: str
    model_id: str
    products: int
    written_within_s: int
    written_last_hour: int


class SwitchesState(_Strict):
    """What is switched off."""

    all: bool = False
    experiments: Annotated[list[Name], Field(max_length=100)] = []
    channels: Annotated[list[Name], Field(max_length=100)] = []
    is_writable: Annotated[bool, Field(description="RECALL_SWITCHES is set. Not read.")] = True

    @classmethod
    def of(cls, off: Off, *, is_writable: bool) -> Self:
        """As it is."""
        return cls(
            all=off.everything,
            experiments=sorted(off.experiments),
            channels=sorted(off.channels),
            is_writable=is_writable,
        )


class UploadedImage(BaseModel):
    """A picture that may be asked with, for about half an hour."""

    image_id: str
    width: int
    height: int
    format: str


class OutcomeIn(BaseModel):
    """What a unit did; an event of the same id counts once."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["click", "add_to_cart", "order"]
    unit_id: Id
    product_id: Id
    query_id: Id | None = None
    position: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    revenue: Annotated[float, Field(allow_inf_nan=False)] | None = None
    currency: Annotated[str, Field(max_length=3)] = ""
    occurred_at: Annotated[AwareDatetime, Field(description="Now, without.")] | None = None
    event_id: Annotated[Id, Field(description="Derived from the rest, without.")] | None = None


def experiment_card(experiment: Experiment, *, serves: bool, off: bool) -> ExperimentCard:
    """An experiment for people."""
    variants: Sequence[VariantCard] = [
        VariantCard(name=one.name, share=one.share, channels=list(one.plan.channels), merge=one.plan.merge)
        for one in experiment.variants
    ]
    return ExperimentCard(
        name=experiment.name,
        hypothesis=experiment.hypothesis,
        phase=experiment.phase,
        unit=experiment.unit,
        start=experiment.start,
        traffic=experiment.traffic,
        control=experiment.control,
        variants=list(variants),
        off=off,
        serves=serves,
    )


def channel_card(state: ChannelState) -> ChannelCard:
    """A channel for people."""
    return ChannelCard(**asdict(state))
