"""The one place that chooses: which channels are loaded, where events go.

Each channel is loaded by itself. One that cannot be (a missing package, an
error in its code, a setting it lacks) is logged and left out; its answers are
`off` and the base is served. With `strict` it is an error instead, for CI.
"""

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points

import structlog

from experiments.exposure import EventLog

from .channels import Channel
from .errors import BrokenChannel, InvalidSettings
from .settings import Settings

log = structlog.get_logger(__name__)

CHANNEL_GROUP = "uniecs_online.channels"


def load_channels(
    names: Collection[str], settings: Settings, *, installed: Iterable[EntryPoint] | None = None
) -> list[Channel]:
    """The channels of these names that can be loaded; nothing else is imported.

    Args:
        names: those that plans name.
        settings: handed to each channel's function.
        installed: the entry points to choose from; those of the environment without.

    Raises:
        BrokenChannel: only with `settings.strict_channels`.
    """
    found = {
        point.name: point for point in (entry_points(group=CHANNEL_GROUP) if installed is None else installed)
    }
    channels = []
    for name in sorted(names):
        try:
            channels.append(_load(name, found, settings))
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


def build_event_log(settings: Settings) -> EventLog:
    """Where events go.

    Raises:
        InvalidSettings: nowhere; an experiment without a log is worth nothing.
    """
    if not settings.kafka_bootstrap:
        raise InvalidSettings(
            "KAFKA_BOOTSTRAP is not set, so exposures would be lost; set it to host:port, or pass event_log="
        )
    from experiments.kafka_log import KafkaEventLog  # heavy: load only when chosen

    return KafkaEventLog(settings.kafka_bootstrap)


def _load(name: str, found: dict[str, EntryPoint], settings: Settings) -> Channel:
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
