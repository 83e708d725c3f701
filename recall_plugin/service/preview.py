"""Both columns of the console: what the base gives, and what a variant would make of it.

Nobody is randomised and nothing is logged: looking at the page must not look
like shopping. The channels are asked as for a shopper, behind breakers of
their own, so that somebody who tries things out leaves no channel alone for
the shoppers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

from experiments.definition import Experiment
from recall_plugin.channels import Channel
from recall_plugin.merge import blend
from recall_plugin.panel import Panel
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query, RecalledItem
from recall_plugin.routing import routes_of
from recall_plugin.settings import Settings
from recall_plugin.switches import Switches

# Who looks at the page waits for every channel, within reason.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Previewed:
    """What a variant would show."""

    variant: str
    items: tuple[RecalledItem, ...]
    channels: Mapping[str, ChannelAnswer]
    took_ms: float


class Preview:
    """An experiment's variants, on the service's channels."""

    def __init__(self, channels: Sequence[Channel], experiment: Experiment, settings: Settings) -> None:
        self._experiment = experiment
        self._routes = routes_of(experiment)
        self._switches = Switches(settings.switches, look_every_s=0.0)
        self._panel = Panel(channels, in_flight=settings.in_flight)

    @property
    def variants(self) -> Sequence[str]:
        """Those that add something, in the experiment's order."""
        return [name for name, route in self._routes.items() if route.channels]

    async def show(self, query: Query, base: Sequence[str], *, variant: str) -> Previewed:
        """The base, with what the variant adds; a switched-off experiment adds nothing."""
        started_s = monotonic()
        route = self._routes[variant]
        off = self._switches.read(now_s=started_s)
        if off.stops(self._experiment.name):
            channels = {
                name: ChannelAnswer(status="off", reason="the experiment is switched off")
                for name in route.channels
            }
            found: dict[str, ChannelAnswer] = channels
        else:
            request = ChannelRequest(
                query=query,
                limit=query.limit,
                deadline_s=started_s + PATIENCE_S,
                request_id=f"preview-{uuid4().hex}",
                unit_id="preview",
            )
            asked = self._panel.ask(route.channels, request, off=off.channels)
            found = dict(await asked.round.ajoin(grace_s=PATIENCE_S))
            self._panel.settle(asked, found)
        hits = {name: answer.hits for name, answer in found.items() if answer.hits}
        items = await asyncio.to_thread(blend, base, hits, rule=route.rule, limit=query.limit)
        return Previewed(
            variant=variant,
            items=tuple(items[: query.limit]),
            channels=found,
            took_ms=(monotonic() - started_s) * 1000,
        )

    def close(self) -> None:
        """End its threads."""
        self._panel.close()
