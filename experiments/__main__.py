"""Weigh the evidence, plan it, ask for an assignment, write the report."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from .definition import load_experiments
from .errors import ExperimentsError, InvalidData
from .settings import Settings, midnight, week_end

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Name = Annotated[str | None, typer.Option("--experiment", help="The experiment's name [RECALL_EXPERIMENT].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")]


@app.command()
def report(
    name: Annotated[
        str | None, typer.Argument(help="The experiment's name [RECALL_EXPERIMENT].", show_default=False)
    ] = None,
    *,
    logs: Annotated[Path | None, typer.Option(help="The archive of events [EXPERIMENT_LOGS].")] = None,
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="Where the report goes [REPORTS].")
    ] = None,
    week: Annotated[str | None, typer.Option(help="As of the end of this week, as 2026-W47.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out this day (UTC) and later, as 2026-02-02.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Planted lifts, as JSON: simulations only.")] = None,
    as_json: Json = False,
) -> None:
    """Turn logs into the weekly page."""
    from .signing import read_record
    from .weekly import collect_aggregates, publish_report  # heavy: DuckDB and SciPy

    if week is not None and until is not None:
        raise InvalidData("--week and --until are both given; give one")
    end = week_end(week) if week is not None else None if until is None else midnight(until)
    settings = Settings()
    folder = output or settings.reports
    chosen = load_experiments(settings.experiments)[name or settings.experiment]
    with Console(stderr=True).status("reading the logs"):
        aggregates = collect_aggregates(chosen, logs or settings.experiment_logs, folder, until=end)
        result, written = publish_report(
            chosen,
            aggregates,
            folder,
            truth=truth or settings.report_truth,
            record=read_record(chosen.name, settings.experiments),
        )
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
    as_json: Json = False,
) -> None:
    """Compare the variants of any table with control."""
    from .tables.comparing import compare_table  # heavy: DuckDB and SciPy
    from .tables.comparison_text import as_text
    from .tables.formula import read_formulas

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
def power(
    *,
    mean: Annotated[float | None, typer.Option(help="The metric's mean per unit.")] = None,
    sd: Annotated[float | None, typer.Option(help="Its standard deviation over units.")] = None,
    share: Annotated[float | None, typer.Option(help="Or: the share of units that have any.")] = None,
    lift: Annotated[float | None, typer.Option(help="Ask: how many units for this lift? 0.05 is 5%.")] = None,
    units: Annotated[int | None, typer.Option(help="Ask: which lift do so many units, in all, show?")] = None,
    target: Annotated[float, typer.Option("--power", help="How often a true lift is shown.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="How often nothing may be shown as something.")] = 0.05,
    treated: Annotated[float, typer.Option(help="The share of units that see the treatment.")] = 0.5,
    saved: Annotated[float, typer.Option(help="The share of variance a covariate takes out.")] = 0.0,
    tests: Annotated[int, typer.Option(help="How many comparisons share alpha.")] = 1,
    as_json: Json = False,
) -> None:
    """Say how many units a lift needs, or which lift some units can show."""
    from .plan.power import Design, power_of, smallest_lift, units_needed

    design = Design(
        variation=variation_of(mean, sd, share), alpha=alpha, share=treated, saved=saved, tests=tests
    )
    if lift is None and units is None:
        raise InvalidData("nothing to work out; give --lift, --units, or both for the power of that")
    found: dict[str, float | int] = {"variation": design.variation, "alpha": alpha}
    if lift is not None and units is not None:
        found |= {"lift": lift, "units": units, "power": power_of(design, lift, units)}
    elif lift is not None:
        found |= {"lift": lift, "power": target, "units": units_needed(design, lift, power=target)}
    elif units is not None:
        found |= {"units": units, "power": target, "lift": smallest_lift(design, units, power=target)}
    if as_json:
        typer.echo(json.dumps(found, allow_nan=False))
        return
    typer.echo(
        f"{found['units']:,} units in all show a lift of {found['lift']:.2%} {found['power']:.0%} of the time"
    )


@app.command()
def plan(
    name: Annotated[str, typer.Argument(help="The experiment's name.")],
    *,
    hypothesis: Annotated[str | None, typer.Option(help="What is believed, and why.")] = None,
    start: Annotated[str | None, typer.Option(help="The first day, as 2026-02-02.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Take all but name, start and salts from this one, packaged or there.")
    ] = None,
    primary: Annotated[
        list[str] | None, typer.Option(help="What decides, as 'ctr=ratio(clicks,searches)'; repeat it.")
    ] = None,
    secondary: Annotated[list[str] | None, typer.Option(help="What explains, as 'x=mean(revenue)'.")] = None,
    guardrail: Annotated[
        list[str] | None, typer.Option(help="What must not get worse, as 'x=mean(searches)@0.05'.")
    ] = None,
    cap: Annotated[list[str] | None, typer.Option(help="NAME=0.99: units above it count as it.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="A channel of the treatment; repeat it.", show_default="uniecs")
    ] = None,
    treated: Annotated[float, typer.Option(help="The share of units that get the treatment.")] = 0.5,
    looks: Annotated[int, typer.Option(help="How often it is looked at.")] = 4,
    every_days: Annotated[int, typer.Option(help="Days between two looks.")] = 7,
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="Where definitions are [EXPERIMENTS].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a definition, in your words or like another, and sign it; with neither, sign what is there."""
    from .plan.plan_files import plan_experiment

    place = output or Settings().experiments
    if place is None:
        raise InvalidData("no place for definitions; give --out FOLDER or set EXPERIMENTS")
    written = plan_experiment(
        place,
        name,
        now=datetime.now(UTC),
        hypothesis=hypothesis,
        start=None if start is None else midnight(start),
        primaries=primary or (),
        secondaries=secondary or (),
        guardrails=guardrail or (),
        caps=cap or (),
        like=like,
        channels=channel or ("uniecs",),
        treated=treated,
        looks=looks,
        every_days=every_days,
    )
    if as_json:
        typer.echo(json.dumps(written, ensure_ascii=False))
        return
    typer.echo(f"{written['definition']}\nsigned {written['signature'][:16]} at {written['signed_at']}")


@app.command()
def aa(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file; its variants do not matter.")],
    *,
    metric: Annotated[list[str], typer.Option(help="NAME=mean(col), ratio(num,den) or proportion(col).")],
    unit: Annotated[str | None, typer.Option(help="The unit's column, where it has several rows.")] = None,
    covariate: Annotated[list[str] | None, typer.Option(help="NAME=col, known before the start.")] = None,
    cap: Annotated[list[str] | None, typer.Option(help="NAME=0.999 or NAME=250.")] = None,
    runs: Annotated[int, typer.Option(help="How many splits.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
    as_json: Json = False,
) -> None:
    """Split a table's units at random, many times: does a test of nothing stay quiet?"""
    from .tables.again import repeat_a_a  # heavy: DuckDB and SciPy
    from .tables.formula import read_formulas

    formulas = read_formulas(metric, covariates=covariate or (), caps=cap or ())
    result = repeat_a_a(file, formulas=formulas, unit=unit, runs=runs, seed=seed)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return
    for it in result["metrics"]:
        state = "as it should be" if it["ok"] else "NOT as it should be: do not trust its p-values"
        typer.echo(
            f"{it['metric']}: {it['false_alarms']:.1%} of {runs:,} splits alarm at 5%, uniform with"
            f" p = {it['uniform_p']:.2g}: {state}"
        )


@app.command()
def interleaving(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file, one row per interleaved search.")],
    *,
    unit: Annotated[str, typer.Option(help="The unit's column: each has one vote.")],
    ours: Annotated[str, typer.Option(help="The column of credit of the ranker that might be better.")],
    theirs: Annotated[str, typer.Option(help="The column of credit of the other.")],
    alpha: Annotated[float, typer.Option(help="The interval holds 1 - alpha of the time.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Say which of two interleaved rankers is preferred, one vote per unit."""
    from .interleaving import compare_interleaved  # heavy: DuckDB and SciPy

    it = compare_interleaved(file, unit=unit, ours=ours, theirs=theirs, alpha=alpha)
    if as_json:
        typer.echo(json.dumps(it, ensure_ascii=False, allow_nan=False))
        return
    typer.echo(
        f"{it['headline']}: {it['wins']:,} votes for {ours}, {it['losses']:,} for {theirs},"
        f" {it['ties']:,} ties; preference {it['preference']:.1%}"
        f" ({it['preference_low']:.1%} to {it['preference_high']:.1%}), p = {it['p_value']:.3g}"
    )


@app.command()
def check(as_json: Json = False) -> None:
    """Read every definition and say what is wrong with the first that is, also against its signed plan."""
    from .running import load_running
    from .signing import hold, read_record

    folder, now = Settings().experiments, datetime.now(UTC)
    experiments = load_running(folder, now=now).values()
    records = {it.name: read_record(it.name, folder) for it in experiments}
    held = {it.name: hold(it, records[it.name]) for it in experiments}
    changes = {name: [*it.graver, *it.lighter] for name, it in held.items()}
    signed = {name: None if record is None else record.signature for name, record in records.items()}
    if as_json:
        found = [
            {
                "name": it.name,
                "signature": it.signature,
                "plan_signature": signed[it.name],
                "plan_changes": changes[it.name],
            }
            for it in experiments
        ]
        typer.echo(json.dumps(found))
        return
    for it in experiments:
        arms = ", ".join(f"{variant.name} {variant.share:.0%}" for variant in it.variants)
        plan = signed[it.name]
        said = "plan not signed" if plan is None else f"plan signed {plan[:16]}"
        if changes[it.name]:
            again = f", or sign it again: python -m experiments plan {it.name} --out {folder}"
            said = (
                f"plan CHANGED since it was signed: {'; '.join(changes[it.name])}; restore it"
                f"{again if now < it.start else ': it has started, and every report says so'}"
            )
        typer.echo(
            f"{it.name}  phase {it.phase}  {arms}  of {it.traffic:.0%} traffic"
            f"  {it.start.date()} to {it.planned_end.date()}  definition {it.signature}"
            f"  {said}"
        )


@app.command()
def assign(
    unit: Annotated[str, typer.Argument(help="The unit's id.")],
    experiment: Name = None,
    as_json: Json = False,
) -> None:
    """Say which variant a unit gets now, and why."""
    from .assignment import assign as decide

    settings = Settings()
    chosen = load_experiments(settings.experiments)[experiment or settings.experiment]
    decision = decide(chosen, unit, now=datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"unit": unit, "variant": decision.variant, "reason": decision.reason}))
        return
    typer.echo(f"{unit}: {decision.variant} ({decision.reason})")


@app.command()
def override(
    variant: Annotated[str, typer.Argument(help="What the tester is to see.")],
    secret: Annotated[
        str, typer.Option(envvar="RECALL_OVERRIDE_SECRET", help="What the shop signs overrides with.")
    ] = "",
    experiment: Name = None,
    unit: Annotated[str, typer.Option(help="Only for this unit; for whoever brings it without.")] = "",
    hours: Annotated[float, typer.Option(help="How long it holds.")] = 4.0,
) -> None:
    """Sign a tester's token; send it as the header X-Recall-Override. Such searches are never logged."""
    from .overrides import Override, read_override, sign_override

    now, settings = datetime.now(UTC), Settings()
    defined = load_experiments(settings.experiments)[experiment or settings.experiment]
    wanted = Override(
        experiment=defined.name, variant=variant, unit_id=unit, until=now + timedelta(hours=hours)
    )
    token = sign_override(wanted, secret, now=now)
    read_override(token, secret, defined, unit_id=unit, now=now)  # refuses a variant that is not there
    typer.echo(token)


def variation_of(mean: float | None, sd: float | None, share: float | None) -> float:
    """The coefficient of variation, from a mean and sd or from a share."""
    if share is not None and mean is None and sd is None:
        if not 0 < share < 1:
            raise InvalidData(f"share is {share}, must be between 0 and 1")
        return float(((1 - share) / share) ** 0.5)
    if mean is None or sd is None or share is not None:
        raise InvalidData("give --mean and --sd, or --share of units that have any")
    if mean == 0:
        raise InvalidData("mean is 0: no lift is relative to that")
    return abs(sd / mean)


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
