"""`python -m recall_plugin check`: what would run here, and what keeps it from running."""

import sys
from typing import Annotated

import typer

from experiments.definition import load_experiments
from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError

from .build import installed_channels, load_channels
from .errors import RecallPluginError
from .routing import routes_of
from .settings import read_settings
from .switches import Switches

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def about() -> None:
    """Add candidates to the search a shop already runs."""


@app.command()
def check(
    load: Annotated[
        bool, typer.Option(help="Also load the planned channels (opens the model and the index).")
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
    if load:
        names = {name for route in routes.values() for name in route.channels}
        for channel in load_channels(names, settings.model_copy(update={"strict_channels": True})):
            typer.echo(f"loaded      {channel.name}")
            channel.close()


def main() -> None:
    """Run, and turn what this project raises on purpose into one line."""
    try:
        app()
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
