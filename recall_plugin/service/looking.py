"""The paths that only look: alive, ready, figures, experiments, switches, channels."""

from fastapi import APIRouter, Response

from recall_plugin.switches import Switches

from .control_words import (
    ChannelCard,
    ExperimentCard,
    Health,
    Ready,
    SwitchesState,
    channel_card,
    experiment_card,
)
from .metrics import ServiceMetrics
from .openapi import problems
from .problems import Problem
from .standing import Service


def looking_routes(service: Service, metrics: ServiceMetrics) -> APIRouter:
    """What anybody may ask."""
    routes = APIRouter()

    @routes.get("/health", tags=["looking"])
    async def health() -> Health:
        """Alive: the process answers."""
        return Health(status="alive")

    @routes.get("/ready", tags=["looking"], responses=problems(503))
    async def ready() -> Ready:
        """Ready: every planned channel is loaded. Send traffic only then: before, treatment is degraded."""
        states = await service.states()
        waiting = {name: one.state for name, one in states.items() if one.state != "loaded"}
        metrics.ready.set(not waiting)
        if waiting:
            said = "; ".join(f"{name}: {why}" for name, why in waiting.items())
            raise Problem(503, f"not every planned channel is loaded ({said}); the base is served meanwhile")
        return Ready(status="ready", channels=sorted(states))

    @routes.get("/metrics", tags=["looking"], response_class=Response)
    async def figures() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @routes.get("/experiments", tags=["looking"])
    async def experiments() -> list[ExperimentCard]:
        """The experiments that are defined, and which of them decides here."""
        standing = service.now
        off = Switches(standing.settings.switches).read(now_s=0.0)
        return [
            experiment_card(one, serves=one.name == standing.settings.experiment, off=off.stops(one.name))
            for one in standing.experiments.values()
        ]

    @routes.get("/switches", tags=["looking"])
    async def switches() -> SwitchesState:
        """What is switched off."""
        path = service.now.settings.switches
        off = Switches(path).read(now_s=0.0)
        return SwitchesState.of(off, is_writable=path is not None)

    @routes.get("/channels", tags=["looking"])
    async def channels() -> dict[str, ChannelCard]:
        """The planned channels: their index's version, model and freshness, and how busy they are."""
        return {name: channel_card(state) for name, state in (await service.states()).items()}

    return routes
