"""The paths that change what is served: ramp, switches, reload. Each needs the token."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError
from recall_plugin.errors import RecallPluginError
from recall_plugin.switches import Off, Switches

from .control_words import ExperimentCard, NewTraffic, SwitchesState, experiment_card
from .metrics import ServiceMetrics
from .openapi import problems
from .problems import Problem
from .standing import Service
from .steering import set_switches, set_traffic

_bearer = HTTPBearer(auto_error=False, description="RECALL_TOKEN; for whatever changes what is served.")
_REFUSALS = problems(400, 401, 403, 411, 413, 422)


def steering_routes(service: Service, metrics: ServiceMetrics) -> APIRouter:
    """What only the holder of the token may ask."""
    routes = APIRouter(tags=["steering"], dependencies=[Depends(_steering(service))])

    @routes.put("/experiments/{name}/traffic", responses=problems(404, 409) | _REFUSALS)
    async def ramp(name: Annotated[str, Path(max_length=64)], wanted: NewTraffic) -> ExperimentCard:
        """Change the share of its slots that takes part: written into the definition, served at once."""
        if name not in service.now.experiments:
            known = ", ".join(service.now.experiments)
            raise Problem(404, f"no experiment {name!r}; defined here: {known}")
        set_traffic(service.now.settings.experiments, name, wanted.traffic)
        await _reload(service, metrics)
        standing = service.now
        off = Switches(standing.settings.switches).read(now_s=0.0)
        serves = name == standing.settings.experiment
        return experiment_card(standing.experiments[name], serves=serves, off=off.stops(name))

    @routes.put("/switches", responses=problems(409) | _REFUSALS)
    async def switch(wanted: SwitchesState) -> SwitchesState:
        """Switch experiments or channels off or on: every worker that reads the file follows in a second."""
        standing = service.now
        off = Off(
            everything=wanted.all,
            experiments=frozenset(wanted.experiments),
            channels=frozenset(wanted.channels),
        )
        names = {channel.name for channel in standing.channels}
        set_switches(standing.settings.switches, off, experiments=standing.experiments, channels=names)
        return SwitchesState.of(off, is_writable=True)

    @routes.post("/reload", status_code=204, responses=_REFUSALS)
    async def reload() -> None:
        """Follow settings and definitions as they are now; no request is dropped. SIGHUP does the same."""
        await _reload(service, metrics)

    return routes


async def _reload(service: Service, metrics: ServiceMetrics) -> None:
    try:
        await service.reload()
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        metrics.reloaded(went_well=False)
        raise Problem(422, f"{error}; what was served before goes on") from error
    metrics.reloaded(went_well=True)


def _steering(service: Service) -> Callable[..., Awaitable[None]]:
    async def may_steer(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None,
    ) -> None:
        token = service.now.settings.token.get_secret_value()
        if not token:
            raise Problem(403, "RECALL_TOKEN is not set, so nothing can be changed here; set it and reload")
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise Problem(
                401,
                "the token is missing or another; send RECALL_TOKEN as `Authorization: Bearer ...`",
                headers={"www-authenticate": "Bearer"},
            )

    return may_steer
