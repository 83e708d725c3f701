"""`python -m experiments`: check definitions, ask for an assignment, write the report."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from .definition import load_experiments
from .errors import ExperimentsError
from .settings import Settings, midnight

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Option("--experiment", help="The experiment's name.")]


@app.command()
def report(
    experiment: Name = "uniecs-recall",
    logs: Annotated[Path | None, typer.Option(help="The archive of events [EXPERIMENT_LOGS].")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the report goes [REPORTS].")] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out this day (UTC) and later, as 2026-02-02.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Planted lifts, as JSON: simulations only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers instead of a summary.")] = False,
) -> None:
    """Turn logs into the weekly page."""
    from .weekly import collect_aggregates, publish_report  # heavy: DuckDB and SciPy

    settings = Settings()
    folder = output or settings.reports
    chosen = load_experiments(settings.experiments)[experiment]
    with Console(stderr=True).status("reading the logs"):
        aggregates = collect_aggregates(
            chosen, logs or settings.experiment_logs, folder, until=None if until is None else midnight(until)
        )
        result, written = publish_report(chosen, aggregates, folder, truth=truth or settings.report_truth)
    if as_json:
        typer.echo(json.dumps(result | {"page": str(written.page)}, ensure_ascii=False, allow_nan=False))
        return
    typer.echo(result["verdict"]["headline"])
    for reason in result["verdict"]["reasons"]:
        typer.echo(f"  {reason}")
    typer.echo(f"page:    {written.page}\nnumbers: {written.numbers}")


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file, one row per unit, or several.")],
    *,
    variant: Annotated[str, typer.Option(help="The column of the variant.")],
    control: Annotated[str, typer.Option(help="Its value that the others are compared with.")],
    metric: Annotated[
        list[str],
        typer.Option(
            help="NAME=mean(col), ratio(num,den), proportion(col) or quantile(col,0.95); repeat it."
        ),
    ],
    unit: Annotated[str | None, typer.Option(help="The unit's column, where it has several rows.")] = None,
    covariate: Annotated[
        list[str] | None, typer.Option(help="NAME=col or NAME=ratio(num,den), known before the start.")
    ] = None,
    cap: Annotated[
        list[str] | None, typer.Option(help="NAME=0.999, a pooled quantile, or NAME=250, a value.")
    ] = None,
    lower: Annotated[list[str] | None, typer.Option(help="NAME of a metric that should fall.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Planned shares: 1:1:1, control first, or A=1,B=1; equal if unset.")
    ] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A column to cut by; repeat it.")] = None,
    alpha: Annotated[float, typer.Option(help="Intervals hold 1 - alpha of the time.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers instead of a table.")] = False,
) -> None:
    """Compare the variants of any table with control."""
    from .comparing import compare_table  # heavy: DuckDB and SciPy
    from .comparison_text import as_text
    from .formula import read_formulas

    result = compare_table(
        file,
        variant=variant,
        control=control,
        formulas=read_formulas(
            metric, covariates=covariate or (), caps=cap or (), lower_is_better=lower or ()
        ),
        unit=unit,
        split=split,
        segments=segment or (),
        alpha=alpha,
    )
    typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else as_text(result))


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Read every definition and say what is wrong with the first that is."""
    experiments = load_experiments(Settings().experiments)
    if as_json:
        typer.echo(json.dumps([{"name": it.name, "signature": it.signature} for it in experiments.values()]))
        return
    for it in experiments.values():
        arms = ", ".join(f"{variant.name} {variant.share:.0%}" for variant in it.variants)
        typer.echo(
            f"{it.name}  phase {it.phase}  {arms}  of {it.traffic:.0%} traffic"
            f"  {it.start.date()} to {it.planned_end.date()}  signature {it.signature}"
        )


@app.command()
def assign(
    unit: Annotated[str, typer.Argument(help="The unit's id.")],
    experiment: Name = "uniecs-recall",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Say which variant a unit gets now, and why."""
    from .assignment import assign as decide

    decision = decide(load_experiments(Settings().experiments)[experiment], unit, now=datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"unit": unit, "variant": decision.variant, "reason": decision.reason}))
        return
    typer.echo(f"{unit}: {decision.variant} ({decision.reason})")


def main() -> None:
    """Run a command; what this room raises on purpose is one line and exit 2."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    try:
        app()
    except ExperimentsError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
