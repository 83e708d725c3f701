"""Text, a picture, or both into one vector space."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .errors import InvalidConfig, UniecsError
from .evaluate import CUTOFFS, MIXED, Scenario, Vectors, evaluate, mean_recall
from .rows import Item, read_items, read_pairs

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

Model = Annotated[Path, typer.Option(help="The folder of an exported model.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Rows side by side; the CPU count, at most 4, if not said.")
]
Provider = Annotated[str, typer.Option(help="Where to run: cpu, or cuda where there is one.")]
RowsARun = Annotated[
    int,
    typer.Option(min=1, help="Rows that share a run; over 1 pays on an accelerator, and costs equal bits."),
]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, for example demo/encoder.toml.")],
    output: Annotated[Path, typer.Option(help="The folder to export into; work files go to its training/.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in output/training.")
    ] = False,
) -> None:
    """Train a model by a recipe, export it, and print its nine scenarios; under torchrun, together."""
    from .recipe import read_recipe

    settings = read_recipe(recipe)  # refused before torch is loaded
    from .crew import join_crew
    from .train import train as run

    crew = join_crew(os.environ, settings.device)
    try:
        with _progress(TextColumn("{task.fields[terms]}"), shown=crew.leads) as bars:
            watcher = _Bars(bars, settings.steps)
            trained = run(settings, output, resume=resume, watcher=watcher, crew=crew)
    finally:
        crew.part()
    if crew.leads:
        _print_scenarios(trained.scenarios)
        typer.echo(f"{trained.model_id} after {trained.steps} steps in {output}")


@app.command()
def embed(
    model: Model,
    input: Annotated[Path, typer.Option(help='JSON Lines: {"text": ...}, {"image": path}, or both.')],
    output: Annotated[Path, typer.Option(help="The .npy file to write: float32 (rows, D), unit vectors.")],
    threads: Threads = None,
    provider: Provider = "cpu",
    rows_a_run: RowsARun = 1,
    title_band: Annotated[
        bool, typer.Option("--title-band", help="Write each text's first line on its picture.")
    ] = False,
) -> None:
    """Embed rows into unit vectors, in row order."""
    from .runtime import Runtime

    rows = read_items(input)
    runtime = Runtime(model, threads=threads, provider=_provider(provider), rows_a_run=rows_a_run)
    vectors = np.empty((len(rows), runtime.dimension), dtype=np.float32)
    at = 0
    with _progress() as bars:
        task = bars.add_task("embedding", total=len(rows))
        named = ((f"{input}:{line}", item) for line, item in rows)
        for part in runtime.embed_items(named, title_band=title_band):
            vectors[at : at + len(part)] = part
            at += len(part)
            bars.update(task, completed=at)
    _write_whole(output, vectors)
    count = "1 vector" if len(vectors) == 1 else f"{len(vectors)} vectors"
    typer.echo(f"{count} of {runtime.dimension} by {runtime.model_id} in {output}")


@app.command(name="evaluate")
def evaluate_command(
    model: Model,
    pairs: Annotated[Path, typer.Option(help="JSON Lines: query, candidate, group.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")
    ] = False,
    threads: Threads = None,
    provider: Provider = "cpu",
) -> None:
    """Print recall in the nine query x candidate scenarios, each over its whole gallery, and in a mixed."""
    from .runtime import Runtime

    read = read_pairs(pairs)
    runtime = Runtime(model, threads=threads, provider=_provider(provider))
    lines = {item: f"{pairs}:{pair.line}" for pair in read for item in (pair.query, pair.candidate)}
    lines |= {Item(None, item.image, item.more): where for item, where in list(lines.items())}
    with _progress() as bars:
        task = bars.add_task("embedding", total=None)

        def embed_all(items: Sequence[Item]) -> Vectors:
            parts = []
            for part in runtime.embed_items((lines.get(item, str(pairs)), item) for item in items):
                parts.append(part)
                bars.advance(task, len(part))
            return np.concatenate(parts)

        scenarios = evaluate(read, embed_all, mixed=True)
    if as_json:
        figures = {"model_id": runtime.model_id, "mean_recall_at_10": mean_recall(scenarios)}
        typer.echo(json.dumps(figures | {"scenarios": [asdict(each) for each in scenarios]}))
    else:
        _print_scenarios(scenarios)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="A training/checkpoint.pt.")],
    output: Annotated[Path, typer.Option(help="The folder to export into.")],
) -> None:
    """Export a checkpoint, also of a run that is not done, to the three ONNX graphs."""
    from .export import export_checkpoint

    typer.echo(f"{export_checkpoint(checkpoint, output)} in {output}")


@app.command()
def quantize(
    model: Model,
    output: Annotated[Path, typer.Option(help="The folder to write the 8-bit copy into.")],
) -> None:
    """Write an 8-bit copy: smaller, faster, and a vector space of its own."""
    from .quantize import quantize_model

    typer.echo(f"{quantize_model(model, output)} in {output}")


class _Bars:
    """Shows a run as two progress bars and its loss terms."""

    def __init__(self, bars: Progress, steps: int) -> None:
        self._bars = bars
        self._pictures = bars.add_task("reading pictures", total=None, terms="")
        self._steps = bars.add_task("training", total=steps, terms="")

    def picture_read(self) -> None:
        self._bars.advance(self._pictures)

    def stepped(self, step: int, figures: dict[str, float]) -> None:
        quiet = ("weight_", "stage", "learning_rate", "gradient", "validation_")
        terms = " ".join(f"{name} {each:.3f}" for name, each in figures.items() if not name.startswith(quiet))
        self._bars.update(self._steps, completed=step, terms=terms)
        if "validation_recall_at_10" in figures:
            found = figures["validation_recall_at_10"]
            self._bars.console.print(
                f"step {step}: {terms}; validation R@10 {found:.3f} (mean over scenarios)"
            )


def _progress(*more: TextColumn, shown: bool = True) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, *more, console=Console(stderr=True), disable=not shown)


_LEGEND = (
    "R@k: of the queries, those with a right answer among the first k. 95%: of R@10.\n"
    "MRR and nDCG: of the first 10. mixed: each candidate in one form, by lot."
)


def _print_scenarios(scenarios: Sequence[Scenario]) -> None:
    if not scenarios:
        return
    own = [each for each in scenarios if each.candidate != MIXED]
    several = f"mean R@10 over {len(own)} scenarios: {mean_recall(own):.3f}"
    table = Table(title=several, caption=_LEGEND, box=None, padding=(0, 1, 0, 0))
    table.add_column("query >", no_wrap=True)
    for name in ("asked", "gallery", "R@1", "R@5", "R@10", "95%", "R@20", "R@50", "MRR", "nDCG"):
        table.add_column(name, justify="right")
    for each in scenarios:
        recall = {k: f"{each.recall[k]:.3f}" for k in CUTOFFS}
        low, high = (f"{end:.2f}".replace("0.", ".", 1) for end in each.recall_at_10_interval)
        figures = (recall[1], recall[5], recall[10], f"{low}-{high}", recall[20], recall[50])
        means = (f"{each.mrr_at_10:.3f}", f"{each.ndcg_at_10:.3f}")
        name = f"{each.query} > {each.candidate}"
        table.add_row(name, str(each.queries), str(each.gallery), *figures, *means)
    Console().print(table)


def _provider(name: str) -> Literal["cpu", "cuda"]:
    if name == "cpu":
        return "cpu"
    if name == "cuda":
        return "cuda"
    raise InvalidConfig(f"provider is {name!r}, must be 'cpu' or 'cuda'")


def _write_whole(path: Path, vectors: Vectors) -> None:
    """Write beside, then rename: whoever reads the path sees all of it or none."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            np.save(file, vectors)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidConfig(f"cannot write {path} ({error}); name a file in a folder that exists") from error


def main() -> None:
    """Run the command; what this room refuses is one line, not a traceback."""
    try:
        app()
    except UniecsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
