"""Add candidates to the search a shop already runs."""

import json
import secrets
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
from structlog.typing import EventDict

from experiments.definition import load_experiments
from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError
from product_index.settings import read_settings as read_index_settings

from .build import NoEventLog, build_event_log, load_channel, load_channels, sidecar_socket
from .checking import ask_once, find_out, where_channels_run
from .errors import RecallPluginError
from .settings import Settings, read_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

# Log lines whose news `check` prints in words.
SAID_IN_WORDS = ("sidecar_away", "index_followed")


@app.command()
def check(
    ask: Annotated[
        bool, typer.Option(help="Also ask the planned channels once (opens the model and the index).")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")
    ] = False,
) -> None:
    """Read the settings, the definitions and the channels; say what would run."""
    structlog.configure(
        processors=[_quiet_what_is_said, *structlog.get_config()["processors"]],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    settings = read_settings()
    standing = find_out(settings, now=datetime.now(UTC))
    if not as_json:
        typer.echo("\n".join(standing.lines()))
    answers = []
    if ask:
        strict = settings.model_copy(update={"strict_channels": True})
        for channel in load_channels(standing.planned, strict):
            answers.append(ask_once(channel, settings))
            if not as_json:
                typer.echo(answers[-1].line)
    if as_json:
        typer.echo(json.dumps(standing.figures() | {"asked": [asdict(one) for one in answers]}))
    if not all(one.answered for one in answers):
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
    typer.echo(f"channels    in {where_channels_run(settings)}", err=True)
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


def _quiet_what_is_said(_logger: object, _method: str, event: EventDict) -> EventDict:
    if event["event"] in SAID_IN_WORDS:
        raise structlog.DropEvent
    return event


def main() -> None:
    """Run, and turn what this project raises on purpose into one line."""
    try:
        app()
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
