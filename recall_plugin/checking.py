"""What would run here, found out before a shopper does: for a person, and for a monitor."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.definition import Experiment
from experiments.running import load_running

from .build import installed_channels, sidecar_line, sidecar_socket
from .channels import Channel
from .channels.state import ChannelState
from .errors import SidecarAway
from .query import ChannelRequest, Query
from .routing import Route, routes_of
from .settings import Settings
from .switches import Switches

# The first question also opens the index: it may take longer than later ones.
FIRST_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarStanding:
    """Where the sidecar listens, and what runs in it; None where it does not answer."""

    socket: Path
    starts: bool
    channels: Mapping[str, ChannelState] | None

    @property
    def sentence(self) -> str:
        """For a person."""
        if self.channels is None:
            then = "it will be started" if self.starts else "start `python -m recall_plugin sidecar`"
            return f"the sidecar at {self.socket}, which does not answer: {then}"
        said = ", ".join(f"{name} {state.state}" for name, state in sorted(self.channels.items()))
        return f"the sidecar at {self.socket}: {said or 'none yet'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What would run.

    Attributes:
        experiment: the flag that decides.
        routes: of each of its variants.
        on: no kill switch stops it.
        grace_ms: how long the join waits for channels once the base is ready.
        sidecar: where channels run; None in this process.
        installed: every channel that packages here declare.
    """

    experiment: Experiment
    routes: Mapping[str, Route]
    on: bool
    grace_ms: float
    sidecar: SidecarStanding | None
    installed: Sequence[str]

    @property
    def planned(self) -> set[str]:
        """The channels that some variant asks."""
        return {name for route in self.routes.values() for name in route.channels}

    def lines(self) -> list[str]:
        """For a person."""
        experiment = self.experiment
        share, state = f"{experiment.traffic:.0%} of its slots", "on" if self.on else "off"
        begins = f"from {experiment.start:%Y-%m-%d}"  # before it, everybody has control
        told = [f"experiment  {experiment.name} (phase {experiment.phase}), {share}, {begins}, {state}"]
        for variant in experiment.variants:
            route = self.routes[variant.name]
            what = f"{', '.join(route.channels)} by {route.rule}" if route.channels else "the base alone"
            told.append(f"variant     {variant.name} {variant.share:.0%}: {what}")
        return [
            *told,
            f"join        what is ready when the base is, plus {self.grace_ms:g} ms",
            f"channels    in {_where(self.sidecar)}",
            f"installed   {', '.join(self.installed) or 'no channels'}",
        ]

    def figures(self) -> dict[str, Any]:
        """For a monitor; `sidecar` is None where channels run in this process."""
        experiment, sidecar = self.experiment, self.sidecar
        channels = None if sidecar is None else sidecar.channels
        return {
            "experiment": experiment.name,
            "phase": experiment.phase,
            "start": experiment.start.isoformat(),
            "traffic": experiment.traffic,
            "on": self.on,
            "variants": [
                {"name": one.name, "share": one.share, "channels": self.routes[one.name].channels}
                for one in experiment.variants
            ],
            "grace_ms": self.grace_ms,
            "sidecar": sidecar
            and {
                "socket": str(sidecar.socket),
                "answers": channels is not None,
                "channels": {name: asdict(state) for name, state in (channels or {}).items()},
            },
            "installed": self.installed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """What a channel answered to a first question."""

    channel: str
    status: str
    reason: str
    hits: int
    index_version: str
    took_ms: float
    answered: bool

    @property
    def line(self) -> str:
        """For a person."""
        what = self.reason or f"{self.hits} hits from {self.index_version} in {self.took_ms:.0f} ms"
        return f"asked       {self.channel}: {self.status}, {what}"


def find_out(settings: Settings, *, now: datetime) -> Standing:
    """What these settings mean.

    Raises:
        RecallPluginError: a plan or a setting breaks a rule.
        ExperimentsError: a definition does, or there is none of this name.
    """
    experiment = load_running(settings.experiments, now=now)[settings.experiment]
    return Standing(
        experiment=experiment,
        routes=routes_of(experiment),
        on=not Switches(settings.switches).read(now_s=0.0).stops(experiment.name),
        grace_ms=settings.grace_ms,
        sidecar=_sidecar(settings),
        installed=installed_channels(),
    )


def where_channels_run(settings: Settings) -> str:
    """Where, and whether that is ready."""
    return _where(_sidecar(settings))


def ask_once(channel: Channel, settings: Settings) -> FirstAnswer:
    """Ask a channel a first question, and close it."""
    started_s = time.monotonic()
    request = ChannelRequest(
        query=Query(text="red mug", limit=3),
        limit=3,
        deadline_s=started_s + settings.budget_ms / 1000 + FIRST_ANSWER_S,
        request_id="check",
        unit_id="check",
    )
    try:
        answer = channel.find(request)
        took_ms = (time.monotonic() - started_s) * 1000
    finally:
        channel.close()
    return FirstAnswer(
        channel=channel.name,
        status=answer.status,
        reason=answer.reason,
        hits=len(answer.hits),
        index_version=answer.index_version,
        took_ms=took_ms,
        answered=answer.answered,
    )


def _sidecar(settings: Settings) -> SidecarStanding | None:
    if settings.channels_in == "process":
        return None
    from .sidecar.client import describe

    try:
        # Asked, not started: what is found is what is there now.
        channels = describe(sidecar_line(settings.model_copy(update={"sidecar_start": False}))).channels
    except SidecarAway:
        channels = None
    return SidecarStanding(socket=sidecar_socket(settings), starts=settings.sidecar_start, channels=channels)


def _where(sidecar: SidecarStanding | None) -> str:
    return "this process" if sidecar is None else sidecar.sentence
