"""What is served just now: settings, experiments, plugin. A reload replaces it as a whole.

A request keeps what it began with. Channels whose settings did not change are
taken over with their model, their connections and their caches; the event log
is opened once and outlives every reload.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, cast

import structlog

from experiments.definition import Experiments
from experiments.exposure import EventLog
from experiments.running import load_running
from product_index.picture_web import WebRules
from product_index.settings import read_settings as read_index_settings
from recall_plugin.build import build_channels, sidecar_line
from recall_plugin.channels import Channel
from recall_plugin.channels.state import ChannelState, state_of
from recall_plugin.errors import SidecarAway
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.routing import routes_of
from recall_plugin.settings import Settings
from recall_plugin.sidecar.client import SidecarChannel, SidecarLine, describe

from .images import rules_for_shoppers
from .preview import Preview

log = structlog.get_logger(__name__)

# What was well is asked again after this; what was not, at once.
WELL_FOR_S = 2.0

OpenChannels = Callable[[Collection[str], Settings], Sequence[Channel]]

# Settings that say nothing about what a channel is.
_NOT_OF_CHANNELS = {
    "experiment",
    "experiments",
    "grace_ms",
    "budget_ms",
    "wait_ms",
    "ahead_ms",
    "switches",
    "token",
    "host",
    "port",
    "kafka_bootstrap",
    "events",
}


@dataclass(slots=True, kw_only=True)
class Standing:
    """One state of the service; `users` counts the requests that began in it."""

    settings: Settings
    experiments: Experiments
    plugin: RecallPlugin
    preview: Preview
    channels: Sequence[Channel]
    identity: str
    web_rules: WebRules | None
    users: int = 0
    is_free: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def in_use(self) -> Iterator["Standing"]:
        """Keep it open meanwhile."""
        self.users += 1
        try:
            yield self
        finally:
            self.users -= 1
            if self.users == 0:
                self.is_free.set()


class Service:
    """The current standing, and how it is replaced.

    Args:
        settings: read once more at each reload.
        event_log: takes exposures and outcomes; closed with the service.
        open_channels: by name, wherever the settings say that they run.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        event_log: EventLog,
        *,
        open_channels: OpenChannels = build_channels,
    ) -> None:
        self._settings = settings
        self._open_channels = open_channels
        self._event_log = event_log
        self._reloading = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._states: dict[str, ChannelState] = {}
        self._states_until_s = 0.0
        self._leaving: dict[asyncio.Task[None], Standing] = {}
        self.now = self._open(None)

    async def states(self) -> dict[str, ChannelState]:
        """How its channels do, as of a moment ago: asking an index how fresh it is costs it a few counts."""
        async with self._asking:
            if monotonic() >= self._states_until_s:
                self._states = await self._ask_states(self.now)
                well = all(one.state == "loaded" for one in self._states.values())
                self._states_until_s = monotonic() + (WELL_FOR_S if well else 0)
            return self._states

    async def _ask_states(self, standing: Standing) -> dict[str, ChannelState]:
        if standing.settings.channels_in == "process":
            channels = [one.channel for one in standing.channels if isinstance(one, _Lent)]
            return {one.name: await asyncio.to_thread(state_of, one) for one in channels}
        names = [channel.name for channel in standing.channels]
        try:
            said = (await asyncio.to_thread(describe, _line_of(standing))).channels
        except SidecarAway as error:
            return {name: ChannelState(state=str(error)) for name in names}
        return {name: said.get(name, ChannelState(state="being loaded")) for name in names}

    @property
    def dropped_events(self) -> int:
        """How many events were lost so far."""
        return self._event_log.dropped

    async def reload(self) -> None:
        """Serve what settings and definitions say now; if they are wrong, go on as before.

        Raises:
            RecallPluginError, ExperimentsError: what is wrong.
        """
        async with self._reloading:
            before = self.now
            self.now = await asyncio.to_thread(self._open, before)
            self._states_until_s = 0.0
            log.info("reloaded", experiments=list(self.now.experiments))
            leaving = asyncio.create_task(self._leave(before))
            self._leaving[leaving] = before
            leaving.add_done_callback(lambda done: self._leaving.pop(done, None))

    async def close(self) -> None:
        """Let go of everything, the log last."""
        for leaving, standing in list(self._leaving.items()):
            leaving.cancel()
            await asyncio.to_thread(self._close, standing, standing.channels is not self.now.channels)
        await asyncio.to_thread(self._close, self.now, True)
        await asyncio.to_thread(self._event_log.close)

    def _open(self, before: Standing | None) -> Standing:
        settings = self._settings()
        served = None if before is None else before.experiments
        experiments = load_running(settings.experiments, now=datetime.now(UTC), before=served)
        experiment = experiments[settings.experiment]
        names = {name for route in routes_of(experiment).values() for name in route.channels}
        index = read_index_settings()
        identity = repr((sorted(names), _of_channels(settings), index))
        if before is not None and before.identity == identity:
            channels = before.channels
        else:
            channels = [_Lent(channel) for channel in self._open_channels(names, settings)]
        plugin = RecallPlugin(channels, experiment, cast(EventLog, _Kept(self._event_log)), settings=settings)
        return Standing(
            settings=settings,
            experiments=experiments,
            plugin=plugin,
            preview=Preview(channels, experiment, settings),
            channels=channels,
            identity=identity,
            web_rules=rules_for_shoppers(index),
        )

    async def _leave(self, standing: Standing) -> None:
        while standing.users:
            standing.is_free.clear()
            await standing.is_free.wait()
        await asyncio.to_thread(self._close, standing, standing.channels is not self.now.channels)

    def _close(self, standing: Standing, with_channels: bool) -> None:
        standing.plugin.close()
        standing.preview.close()
        for channel in standing.channels if with_channels else ():
            if isinstance(channel, _Lent):
                channel.really_close()


class _Lent:
    """A channel that outlives the plugins that use it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    @property
    def name(self) -> str:
        return self.channel.name

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        return self.channel.find(request)

    def prepare(self, query: Query, *, wait_s: float) -> None:
        prepare = getattr(self.channel, "prepare", None)
        if prepare is not None:
            prepare(query, wait_s=wait_s)

    def close(self) -> None:
        """Not yet."""

    def really_close(self) -> None:
        try:
            self.channel.close()
        except Exception as error:
            log.warning("channel_close_failed", channel=self.name, error=repr(error))


class _Kept:
    """An event log that outlives the plugins that write to it."""

    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event_log, name)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Not yet."""


def _line_of(standing: Standing) -> SidecarLine:
    """The line of its channels, so that asking how they do also has a sidecar started that is not there."""
    for channel in standing.channels:
        if isinstance(channel, _Lent) and isinstance(channel.channel, SidecarChannel):
            return channel.channel.line
    return sidecar_line(standing.settings)


def _of_channels(settings: Settings) -> dict[str, object]:
    return settings.model_dump(exclude=_NOT_OF_CHANNELS)
