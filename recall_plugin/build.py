"""The one place that chooses: where channels run, which are loaded, where events go.

Each channel is loaded by itself. One that cannot be (a missing package, an
error in its code, a setting it lacks) is logged and left out; its answers are
`off` and the base is served. With `strict` it is an error instead, for CI.
"""

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from experiments.exposure import EventLog

from .channels import Channel
from .channels.limited import GradientLimit, LimitedChannel, LimitRule
from .errors import BrokenChannel, InvalidSettings
from .settings import Settings

if TYPE_CHECKING:
    from .sidecar.client import SidecarLine

log = structlog.get_logger(__name__)

CHANNEL_GROUP = "uniecs_online.channels"


def build_channels(names: Collection[str], settings: Settings) -> list[Channel]:
    """The channels of these names, in a sidecar or in this process, as the settings say.

    Raises:
        BrokenChannel: only in this process, with `settings.strict_channels`.
        InvalidSettings: the sidecar's socket cannot have this path.
    """
    if settings.channels_in == "process":
        return load_channels(names, settings)
    from .sidecar.client import SidecarChannel

    line = sidecar_line(settings)
    return [SidecarChannel(name, line) for name in sorted(names)]


def sidecar_line(settings: Settings) -> "SidecarLine":
    """The way to the sidecar of these settings, which may start one that is not there.

    Raises:
        InvalidSettings: its socket cannot have this path.
    """
    from .sidecar.client import SidecarLine
    from .sidecar.starting import Starter

    path = sidecar_socket(settings)
    return SidecarLine(path, when_away=Starter(path)) if settings.sidecar_start else SidecarLine(path)


def sidecar_socket(settings: Settings) -> Path:
    """Where the sidecar of these settings listens.

    Raises:
        InvalidSettings: its socket cannot have this path.
    """
    from .sidecar.starting import checked, default_socket

    return checked(settings.sidecar_socket or default_socket())


def load_channels(
    names: Collection[str], settings: Settings, *, installed: Iterable[EntryPoint] | None = None
) -> list[Channel]:
    """The channels of these names that can be loaded into this process; nothing else is imported.

    Args:
        names: those that plans name.
        settings: handed to each channel's function.
        installed: the entry points to choose from; those of the environment without.

    Raises:
        BrokenChannel: only with `settings.strict_channels`.
    """
    limit = LimitRule(first=settings.in_flight, highest=settings.in_flight)
    channels: list[Channel] = []
    for name in sorted(names):
        try:
            channel = load_channel(name, settings, installed=installed)
            channels.append(LimitedChannel(channel, GradientLimit(limit)))
        except BrokenChannel as error:
            if settings.strict_channels:
                raise
            log.exception(
                "channel_left_out", channel=name, error=str(error), effect="the base is served without it"
            )
    return channels


def installed_channels() -> list[str]:
    """The names of all channels that packages here declare."""
    return sorted(point.name for point in entry_points(group=CHANNEL_GROUP))


class NoEventLog:
    """Forgets every event, and counts it as dropped: for trying things out."""

    def __init__(self) -> None:
        self.dropped = 0

    def exposed(self, _: object) -> None:
        """Forget it."""
        self.dropped += 1

    happened = marked = exposed

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Nothing waits."""


def build_event_log(settings: Settings) -> EventLog:
    """Where events go.

    Raises:
        InvalidSettings: nowhere; an experiment without a log is worth nothing.
    """
    if settings.events is not None:
        from experiments.events.json_lines_log import JsonLinesEventLog

        return JsonLinesEventLog(settings.events)
    if not settings.kafka_bootstrap:
        raise InvalidSettings(
            "KAFKA_BOOTSTRAP is not set, so exposures would be lost; set it to host:port, or RECALL_EVENTS"
            " to a folder, or pass event_log="
        )
    from experiments.events.kafka_log import KafkaEventLog  # heavy: load only when chosen

    return KafkaEventLog(settings.kafka_bootstrap)


def load_channel(name: str, settings: Settings, *, installed: Iterable[EntryPoint] | None = None) -> Channel:
    """One channel, loaded into this process.

    Raises:
        BrokenChannel: nothing of that name is installed, or its code fails.
    """
    points = entry_points(group=CHANNEL_GROUP) if installed is None else installed
    found = {point.name: point for point in points}
    if name not in found:
        raise BrokenChannel(
            f"no channel {name!r} is installed; there are: {', '.join(sorted(found)) or 'none'}. Install "
            f"the package that declares it under {CHANNEL_GROUP!r}; after a change to pyproject.toml, "
            "install again"
        )
    try:
        channel: Channel = found[name].load()(settings)
        named = channel.name
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise BrokenChannel(f"channel {name!r} ({found[name].value}) cannot be loaded: {error!r}") from error
    if named != name:
        raise BrokenChannel(f"channel {name!r} calls itself {named!r}; entry point and channel must agree")
    return channel
