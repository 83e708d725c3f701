"""`python -m recall_plugin check`: what would run here, and what keeps it from running."""

import sys
import time
from typing import Annotated

import typer

from experiments.definition import load_experiments
from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError

from .build import installed_channels, load_channels
from .channels import Channel
from .errors import RecallPluginError
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
    experiment = load_experiments(settings.experiments)[settings.experiment]
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
    typer.echo(f"installed   {', '.join(installed_channels()) or 'no channels'}")
    if ask:
        names = {name for route in routes.values() for name in route.channels}
        strict = settings.model_copy(update={"strict_channels": True})
        answers = [_ask_once(channel, settings) for channel in load_channels(names, strict)]
        if not all(answers):
            raise typer.Exit(1)


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


def main() -> None:
    """Run, and turn what this project raises on purpose into one line."""
    try:
        app()
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
