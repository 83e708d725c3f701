"""What each part of the encoder is worth: one table, every row trained alike.

    python -m benchmarks.ablations [--work .demo/ablations] [--set shop] [--only uniecs --only no-imcl]
    python -m benchmarks.ablations --frozen --steps 300 [--set grocery-vague]

Trains every variant on the rendered shop and, where it is there, on the grocery
store's photos, with the same steps, batches and seeds, and judges it on held-out
pairs: nine scenarios, pessimistic ties, differences to UniECS with paired
bootstrap intervals over groups. In the vague sets one side of many queries says
little (`benchmarks.vague`). With `--frozen` all rows of a seed share towers that were
trained as two towers, and none changes them. A stopped run goes on with the same
command: what is done is kept in the work folder, under a name that changes with the recipe.
`--untold` counts only products whose text does not name their kind ("Summer collection"):
there a picture is to be believed, and not the mean of it and the text.
"""

import hashlib
import json
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.ablation_rows import VARIANTS, Variant, over_towers, recipe_of
from benchmarks.ablation_table import mean_recall_at, print_table, untold_groups
from benchmarks.ablation_towers import SharedTowers
from benchmarks.retold import write_banded, write_styled
from benchmarks.vague import write_vague
from demo.pairs import make_pairs
from demo.shop import render_shop
from uniecs.checkpoint import load_checkpoint, save_checkpoint
from uniecs.config import Recipe
from uniecs.evaluate import Judged
from uniecs.evaluate import judge as judge_pairs
from uniecs.judge import Judge
from uniecs.learner import Learner
from uniecs.pairs import PairTable
from uniecs.ranking import cosines
from uniecs.reverse import reversed_scores
from uniecs.rows import read_pairs
from uniecs.views import views

SHOP_SEED = 101
SEED = 7
SAVE_EVERY = 50
TOWER_STEPS = 400
TWO_TOWERS = next(each for each in VARIANTS if each.name == "two-tower")
OTHERS = 256  # training queries that a hit is asked for in reverse
NO_MATTER = {"pairs", "threads", "save_every"}
SETS = {
    "shop": "validation-shop-photos",
    "shop-vague": "validation-shop-photos-vague",
    "grocery": "validation-grocery",
    "grocery-vague": "validation-grocery-vague",
}
OTHER_SETS = ("luma:", "grocery:", "abt:")  # how their groups begin


def main(
    *,
    work: Annotated[Path, typer.Option(help="data, checkpoints and results are kept here")] = Path(
        ".demo/ablations"
    ),
    shared_data: Annotated[Path, typer.Option(help="the real sets, where they are there")] = Path(
        "../shared/data"
    ),
    products: Annotated[int, typer.Option(help="of the rendered shop; one in twenty is a query")] = 6_000,
    steps: Annotated[int, typer.Option(help="optimiser steps of every row")] = 400,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
    on: Annotated[list[str] | None, typer.Option("--set", help="by name; all if not said")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="of every row")] = None,
    frozen: Annotated[bool, typer.Option(help="all rows share towers that none changes")] = False,
    only: Annotated[list[str] | None, typer.Option(help="names of rows; all if not said")] = None,
    table: Annotated[bool, typer.Option(help="only print what is there")] = False,
    untold: Annotated[
        bool, typer.Option(help="count only products whose text does not name their kind")
    ] = False,
) -> None:
    """Train what is missing, and print the tables."""
    torch.set_num_threads(threads)
    files = _data(work, shared_data, products)
    for name in on or list(files):
        if name not in files:
            print(f"\n{name}: not there ({shared_data} has no such set)")
            continue
        found: dict[str, list[dict[str, Any]]] = {}
        bench = _Bench(name, files[name])
        for seed in seeds or [SEED]:
            shared = recipe_of(
                TWO_TOWERS, pairs=files[name][0], steps=TOWER_STEPS, seed=seed, threads=threads
            )
            if frozen and not table:
                bench.freeze(shared)
            for variant in VARIANTS:
                if frozen and variant.own_towers:
                    continue
                if not only or variant.name in only or variant.name == "uniecs":
                    recipe = recipe_of(variant, pairs=files[name][0], steps=steps, seed=seed, threads=threads)
                    recipe = over_towers(recipe) if frozen else recipe
                    result = bench.result(variant, recipe, may_train=not table)
                    if result is not None:
                        found.setdefault(variant.name, []).append(result)
        print_table(name, steps, found, untold_groups(files[name][1]) if untold else None)


class _Bench:
    """One set: its pairs are read once for all variants that see pictures alike."""

    def __init__(self, name: str, files: tuple[Path, Path]) -> None:
        self.name = name
        self.files = files
        self.results = files[0].parent.parent / "results" / name  # beside the data they are of
        self._tables: dict[object, tuple[PairTable, Judge]] = {}
        self._towers: SharedTowers | None = None

    def freeze(self, recipe: Recipe) -> None:
        """Train the towers that all rows share, or take them from the folder."""
        checkpoint = self.results / f"towers-{_key(recipe)}.pt"
        self._towers = None
        pairs, _ = self._numbers(TWO_TOWERS, recipe)
        learner, _ = self._train(recipe, pairs, checkpoint)
        self._towers = SharedTowers(learner.model)

    def result(self, variant: Variant, recipe: Recipe, *, may_train: bool) -> dict[str, Any] | None:
        """Return what the variant found, from the folder or by training it now."""
        file = self.results / f"{variant.name}-{_key(recipe)}.json"
        if file.is_file():
            return dict(json.loads(file.read_text(encoding="utf-8")))
        if not may_train:
            return None
        pairs, judge = self._numbers(variant, recipe)
        learner, seconds = self._train(recipe, pairs, file.with_suffix(".pt"))
        found = _judged(judge, learner, pairs if variant.reverse else None)
        result = {"seconds": seconds, "steps": recipe.steps, "scenarios": [_plain(each) for each in found]}
        file.write_text(json.dumps(result), encoding="utf-8")
        file.with_suffix(".pt").unlink(missing_ok=True)
        print(
            f"  {self.name} {variant.name}: mean R@1 {mean_recall_at(found, 1):.3f}, {seconds:.0f} s of CPU",
            flush=True,
        )
        return result

    def _train(self, recipe: Recipe, pairs: PairTable, checkpoint: Path) -> tuple[Learner, float]:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        learner, step, spent = Learner(recipe), 0, 0.0
        if self._towers:
            self._towers.put_into(learner.model)
        if checkpoint.is_file():
            step, states = load_checkpoint(checkpoint, recipe=recipe)
            learner.restore(states)
            spent = states["spent"]
        began = time.process_time()
        while step < recipe.steps:
            learner.step(pairs, step)
            step += 1
            if step % SAVE_EVERY == 0:
                states = learner.state() | {"spent": spent + time.process_time() - began}
                save_checkpoint(checkpoint, recipe=recipe, step=step, states=states)
        return learner, spent + time.process_time() - began

    def _numbers(self, variant: Variant, recipe: Recipe) -> tuple[PairTable, Judge]:
        model = recipe.model
        key = (variant.told, model.side_px, model.hash_rows, model.max_tokens, model.reads, model.entity_gate)
        if key not in self._tables:
            train, held_out = (read_pairs(file) for file in _retold(self.files, variant.told))
            self._tables = {key: (PairTable(train, model), Judge(held_out, model))}
        return self._tables[key]


def _key(recipe: Recipe) -> str:
    """Name a recipe by what it says beyond the defaults: a new option leaves old names alone."""

    def said(record: Any) -> dict[str, Any]:
        return {
            each.name: said(value) if is_dataclass(value) else value
            for each in fields(record)
            if (value := getattr(record, each.name)) != each.default and each.name not in NO_MATTER
        }

    name = json.dumps(said(recipe), sort_keys=True)
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _judged(judge: Judge, learner: Learner, asked: PairTable | None) -> list[Judged]:
    model, score = learner.model.eval(), cosines
    if asked is not None:
        queries, _, _ = asked.batch(seed=SEED, step=0, size=OTHERS)
        with torch.inference_mode():
            score = reversed_scores(views(model, [queries])[0].any_view()[0].numpy())
    return judge_pairs(judge.pairs, judge.embedder(model), mixed=True, score=score)


def _retold(files: tuple[Path, Path], told: str) -> tuple[Path, Path]:
    """Return the training and the held-out file of a row, written if they are not there."""
    writers = {"styled": (write_styled, None), "banded": (write_banded, write_banded)}
    found = []
    for file, write in zip(files, writers.get(told, (None, None)), strict=True):
        other = file.with_name(f"{file.stem}-{told}.jsonl") if write else file
        if write and not other.is_file():
            write(file, other)
        found.append(other)
    return found[0], found[1]


def _data(work: Path, shared_data: Path, products: int) -> dict[str, tuple[Path, Path]]:
    """Render the shop, write the pairs, and return each set's training and held-out file."""
    folder = work / f"data-{products}"
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        render_shop(folder / "shop", products=products, seed=SHOP_SEED, workers=1)
        made = make_pairs(
            folder / "shop", folder / "pairs", shared_data=shared_data if shared_data.is_dir() else None
        )
        rows = [json.loads(line) for line in made.train.read_text(encoding="utf-8").splitlines()]
        own = {
            "shop": [row for row in rows if not row["group"].startswith(OTHER_SETS)],
            "grocery": [row for row in rows if row["group"].startswith("grocery:")],
        }
        for name, kept in own.items():
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            (folder / "pairs" / f"train-{name}.jsonl").write_text(text, encoding="utf-8")
        (folder / "done").touch()
    for file in ("train-grocery", "validation-grocery", "train-shop", "validation-shop-photos"):
        plain = folder / "pairs" / f"{file}.jsonl"
        if plain.is_file():
            write_vague(plain, folder / "pairs" / f"{file}-vague.jsonl")
    files = {
        name: (folder / "pairs" / f"train-{name}.jsonl", folder / "pairs" / f"{held_out}.jsonl")
        for name, held_out in SETS.items()
    }
    return {name: pair for name, pair in files.items() if all(file.is_file() for file in pair)}


def _plain(judged: Judged) -> dict[str, Any]:
    return {
        "query": judged.query,
        "candidate": judged.candidate,
        "gallery": judged.gallery,
        "ranks": judged.ranks.tolist(),
        "ndcg": judged.ndcg.tolist(),
        "units": list(judged.units),
    }


if __name__ == "__main__":
    typer.run(main)
