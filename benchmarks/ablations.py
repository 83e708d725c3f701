"""What each part of the encoder is worth: one table, every row trained alike.

    python -m benchmarks.ablations [--work .demo/ablations] [--set shop] [--only uniecs --only no-imcl]
    python -m benchmarks.ablations --set grocery --set grocery-vague --towers CHECKPOINT --steps 150

Trains every variant on the rendered shop and, where it is there, on the grocery
store's photos, with the same steps, batches and seeds, and judges it on held-out
pairs: nine scenarios, pessimistic ties, differences to UniECS with paired
bootstrap intervals over groups. In the vague sets one side of many queries says
little (`benchmarks.vague`). With `--towers` all rows share towers that none changes.
A stopped run goes on with the same command: what is done is kept in the work
folder, under a name that changes with the recipe and the towers.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.ablation_rows import VARIANTS, Variant, recipe_of, with_towers
from benchmarks.ablation_towers import SharedTowers
from benchmarks.retold import write_banded, write_styled
from benchmarks.vague import write_vague
from demo.pairs import make_pairs
from demo.shop import render_shop
from uniecs.checkpoint import load_checkpoint, save_checkpoint
from uniecs.config import Recipe
from uniecs.evaluate import FORMS, Judged, mean_recall_interval
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
    towers: Annotated[Path | None, typer.Option(help="a checkpoint whose towers all rows share")] = None,
    only: Annotated[list[str] | None, typer.Option(help="names of rows; all if not said")] = None,
    table: Annotated[bool, typer.Option(help="only print what is there")] = False,
) -> None:
    """Train what is missing, and print the tables."""
    torch.set_num_threads(threads)
    files = _data(work, shared_data, products)
    for name in on or list(files):
        if name not in files:
            print(f"\n{name}: not there ({shared_data} has no such set)")
            continue
        found: dict[str, list[dict[str, Any]]] = {}
        bench = _Bench(name, files[name], SharedTowers(towers) if towers else None)
        for seed in seeds or [SEED]:
            for variant in VARIANTS:
                if towers and variant.own_towers:
                    continue
                if not only or variant.name in only or variant.name == "uniecs":
                    recipe = recipe_of(variant, pairs=files[name][0], steps=steps, seed=seed, threads=threads)
                    recipe = with_towers(recipe) if towers else recipe
                    result = bench.result(variant, recipe, may_train=not table)
                    if result is not None:
                        found.setdefault(variant.name, []).append(result)
        _print(name, steps, found)


class _Bench:
    """One set: its pairs are read once for all variants that see pictures alike."""

    def __init__(self, name: str, files: tuple[Path, Path], towers: SharedTowers | None) -> None:
        self.name, self.towers = name, towers
        self.files = files
        self.results = files[0].parent.parent / "results" / name  # beside the data they are of
        self._tables: dict[object, tuple[PairTable, Judge]] = {}

    def result(self, variant: Variant, recipe: Recipe, *, may_train: bool) -> dict[str, Any] | None:
        """Return what the variant found, from the folder or by training it now."""
        file = self.results / f"{variant.name}-{_key(recipe, self.towers)}.json"
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
            f"  {self.name} {variant.name}: mean R@1 {_mean(found, 1):.3f}, {seconds:.0f} s of CPU",
            flush=True,
        )
        return result

    def _train(self, recipe: Recipe, pairs: PairTable, checkpoint: Path) -> tuple[Learner, float]:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        learner, step, spent = Learner(recipe), 0, 0.0
        if self.towers:
            self.towers.put_into(learner.model)
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


def _key(recipe: Recipe, towers: SharedTowers | None) -> str:
    """Name a recipe by what it says beyond the defaults: a new option leaves old names alone."""

    def said(record: Any) -> dict[str, Any]:
        return {
            each.name: said(value) if is_dataclass(value) else value
            for each in fields(record)
            if (value := getattr(record, each.name)) != each.default and each.name not in NO_MATTER
        }

    name = json.dumps(said(recipe), sort_keys=True) + (towers.digest if towers else "")
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


def _read(results: Sequence[dict[str, Any]]) -> list[Judged]:
    """Put the runs of all seeds together: a query counts once for each."""
    return [
        Judged(
            query=runs[0]["query"],
            candidate=runs[0]["candidate"],
            gallery=runs[0]["gallery"],
            ranks=np.concatenate([np.array(each["ranks"], dtype=np.int64) for each in runs]),
            ndcg=np.concatenate([np.array(each["ndcg"]) for each in runs]),
            units=tuple(unit for each in runs for unit in each["units"]),
        )
        for runs in zip(*(result["scenarios"] for result in results), strict=True)
    ]


def _mean(judged: list[Judged], at: int) -> float:
    return float(np.mean([each.hits(at).mean() for each in judged if each.candidate in FORMS]))


def _print(name: str, steps: int, found: dict[str, list[dict[str, Any]]]) -> None:
    if "uniecs" not in found:
        return
    ours = _read(found["uniecs"][:1])
    sizes = max(len(each.ranks) for each in ours), max(each.gallery for each in ours)
    print(f"\n## {name}: {steps} steps each, {sizes[0]} queries, gallery of {sizes[1]}\n")
    print(
        "| row | seeds | mean of nine R@1 | minus UniECS, 95% | R@10 | minus UniECS, 95% | text to both |"
        " image to text | both to text | both to both | same, minus UniECS, 95% | mixed gallery | CPU s |"
    )
    print("| --- |" + " --- |" * 12)
    for variant in VARIANTS:
        runs = found.get(variant.name, [])
        if runs:  # against UniECS of the same seeds
            cells = _cells(variant, _read(runs), _read(found["uniecs"][: len(runs)]), runs)
            print("| " + " | ".join(cells) + " |")


def _cells(
    variant: Variant, mine: list[Judged], ours: list[Judged], runs: Sequence[dict[str, Any]]
) -> Iterator[str]:
    yield variant.label
    yield f"{len(runs)}"
    for at in (1, 10):
        yield f"{_mean(mine, at):.3f}"
        yield _gap(mine, ours, at)
    for asked, offered in (("text", "both"), ("image", "text"), ("both", "text"), ("both", "both")):
        yield f"{_mean(_one(mine, asked, offered), 1):.3f}"
    yield _gap(_one(mine, "both", "both"), _one(ours, "both", "both"), 1)
    yield f"{np.mean([each.hits(10).mean() for each in mine if each.candidate not in FORMS]):.3f}"
    yield f"{math.ceil(sum(result['seconds'] for result in runs) / len(runs))}"


def _gap(mine: list[Judged], ours: list[Judged], at: int) -> str:
    low, high = mean_recall_interval(mine, at=at, minus=ours)
    return f"{_mean(mine, at) - _mean(ours, at):+.3f} [{low:+.3f}, {high:+.3f}]"


def _one(judged: list[Judged], asked: str, offered: str) -> list[Judged]:
    return [each for each in judged if (each.query, each.candidate) == (asked, offered)]


if __name__ == "__main__":
    typer.run(main)
