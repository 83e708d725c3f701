"""`python -m recall_plugin`: check what would run here; run channels beside a funnel; serve over HTTP."""

import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from experiments.definition import load_experiments
from experiments.errors import ExperimentsError
from experiments.running import load_running
from product_index.errors import ProductIndexError
from product_index.settings import read_settings as read_index_settings

from .build import (
    NoEventLog,
    build_event_log,
    installed_channels,
    load_channel,
    load_channels,
    sidecar_line,
    sidecar_socket,
)
from .channels import Channel
from .errors import RecallPluginError, SidecarAway
from .query import ChannelRequest, Query
from .routing import routes_of
from .settings import Settings, read_settings
from .switches import Switches

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def about() -> None:
    """Add candidates to the search a shop already runs."""


@app.command()
def check(
    ask: Annotated[
        bool, typer.Option(help="Also ask the planned channels once (opens the model and the index).")
    ] = True,
) -> None:
    """Read the settings, the definitions and the channels; say what would run."""
    settings = read_settings()
    experiment = load_running(settings.experiments, now=datetime.now(UTC))[settings.experiment]
    routes = routes_of(experiment)
    off = Switches(settings.switches).read(now_s=0.0)
    state = "off" if off.stops(experiment.name) else "on"
    share = f"{experiment.traffic:.0%} of its slots"
    typer.echo(f"experiment  {experiment.name} (phase {experiment.phase}), {share}, {state}")
    for variant in experiment.variants:
        route = routes[variant.name]
        what = f"{', '.join(route.channels)} by {route.rule}" if route.channels else "the base alone"
        typer.echo(f"variant     {variant.name} {variant.share:.0%}: {what}")
    typer.echo(f"join        what is ready when the base is, plus {settings.grace_ms:g} ms")
    typer.echo(f"channels    in {_where(settings)}")
    typer.echo(f"installed   {', '.join(installed_channels()) or 'no channels'}")
    if ask:
        names = {name for route in routes.values() for name in route.channels}
        strict = settings.model_copy(update={"strict_channels": True})
        answers = [_ask_once(channel, settings) for channel in load_channels(names, strict)]
        if not all(answers):
            raise typer.Exit(1)


@app.command()
def sidecar(
    socket: Annotated[
        Path | None, typer.Option(help="Where to listen; RECALL_SIDECAR_SOCKET without.")
    ] = None,
    end_when_idle_s: Annotated[
        float | None, typer.Option(help="End when nobody was connected for this long; never without.")
    ] = None,
) -> None:
    """Run the channels in this process, behind a Unix socket, until SIGTERM; SIGHUP loads them again."""
    from .sidecar.giving_way import give_way
    from .sidecar.running import run_sidecar

    settings = read_settings()
    if settings.sidecar_gives_way:
        give_way()
    if socket is not None:
        settings = settings.model_copy(update={"sidecar_socket": socket})
    run_sidecar(
        sidecar_socket(settings),
        lambda name: load_channel(name, read_settings()),  # read afresh: a reload follows what was changed
        _planned(settings),
        in_flight=settings.sidecar_in_flight,
        end_when_idle_s=end_when_idle_s,
    )


@app.command()
def serve(
    events: Annotated[
        bool, typer.Option(help="Log exposures and outcomes; --no-events is for trying things out.")
    ] = True,
) -> None:
    """Serve the plugin over HTTP, with a page to look at it, until SIGTERM; SIGHUP reloads."""
    from .service.app import build_app
    from .service.running import address_of, check_address, listening, run_service

    settings = read_settings()
    check_address(settings)
    bound = listening(settings)
    service = build_app(read_settings, build_event_log(settings) if events else NoEventLog())
    typer.echo(f"listens     {address_of(bound)}", err=True)
    typer.echo(f"channels    in {_where(settings)}", err=True)
    run_service(service, bound)


@app.command()
def console(
    folder: Annotated[Path, typer.Option(help="Where a ramp and a kill switch are written.")] = Path(".demo"),
) -> None:
    """Try the search with and without UniECS in a browser: nothing is logged, a token for this run."""
    from .service.app import build_app
    from .service.running import address_of, listening, run_service
    from .service.trying import check_index, settings_for_trying

    check_index(read_index_settings().milvus_uri)
    token = secrets.token_urlsafe(9)

    def settings() -> Settings:
        return settings_for_trying(read_settings(), folder, token=token)

    bound = listening(settings())
    service = build_app(settings, NoEventLog())
    typer.echo(f"console     {address_of(bound)}", err=True)
    typer.echo(f"token       {settings().token.get_secret_value()}", err=True)
    run_service(service, bound)


def _planned(settings: Settings) -> list[str]:
    """Every channel that a definition names; none where they cannot be read: they are not the sidecar's."""
    try:
        experiments = load_experiments(settings.experiments).values()
    except ExperimentsError:
        return []
    plans = [variant.plan for experiment in experiments for variant in experiment.variants]
    return sorted({name for plan in plans for name in plan.channels})


def _ask_once(channel: Channel, settings: Settings) -> bool:
    """Whether the channel answers a first question."""
    request = ChannelRequest(
        query=Query(text="red mug", limit=3),
        limit=3,
        # The first question also opens the index: it may take longer than later ones.
        deadline_s=time.monotonic() + settings.budget_ms / 1000 + 30,
        request_id="check",
        unit_id="check",
    )
    try:
        started_s = time.monotonic()
        answer = channel.find(request)
        took_ms = (time.monotonic() - started_s) * 1000
    finally:
        channel.close()
    what = answer.reason or f"{len(answer.hits)} hits from {answer.index_version} in {took_ms:.0f} ms"
    typer.echo(f"asked       {channel.name}: {answer.status}, {what}")
    return answer.answered


def _where(settings: Settings) -> str:
    """Where channels run, and whether that is ready."""
    if settings.channels_in == "process":
        return "this process"
    from .sidecar.client import describe

    path = sidecar_socket(settings)
    try:
        states = describe(sidecar_line(settings.model_copy(update={"sidecar_start": False}))).channels
    except SidecarAway:
        then = "it will be started" if settings.sidecar_start else "start `python -m recall_plugin sidecar`"
        return f"the sidecar at {path}, which does not answer: {then}"
    said = ", ".join(f"{name} {state.state}" for name, state in sorted(states.items()))
    return f"the sidecar at {path}: {said or 'none yet'}"


def main() -> None:
    """Run, and turn what this project raises on purpose into one line."""
    try:
        app()
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
