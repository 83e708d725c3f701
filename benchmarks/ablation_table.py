"""The ablation table in Markdown, and what its figures are read from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation_rows import VARIANTS, Variant
from uniecs.evaluate import FORMS, Judged, mean_recall_interval
from uniecs.rows import read_pairs


def untold_groups(held_out: Path) -> set[str]:
    """Return the groups whose candidate does not begin to say what the query's last word asks for."""
    return {
        pair.group
        for pair in read_pairs(held_out)
        if (pair.query.text or " ").split()[-1][:4].lower() not in (pair.candidate.text or "").lower()
    }


def _only(judged: Judged, units: set[str]) -> Judged:
    kept = np.array([unit in units for unit in judged.units])
    names = tuple(unit for unit in judged.units if unit in units)
    return replace(judged, ranks=judged.ranks[kept], ndcg=judged.ndcg[kept], units=names)


def _read(results: Sequence[dict[str, Any]], units: set[str] | None = None) -> list[Judged]:
    """Put the runs of all seeds together: a query counts once for each."""
    if units is not None:
        return [_only(each, units) for each in _read(results)]
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


def mean_recall_at(judged: list[Judged], at: int) -> float:
    """Return the mean over the nine scenarios."""
    return float(np.mean([each.hits(at).mean() for each in judged if each.candidate in FORMS]))


def print_table(
    name: str, steps: int, found: dict[str, list[dict[str, Any]]], units: set[str] | None
) -> None:
    """Print the rows that are there, in Markdown; `units` are the groups that count, all if None."""
    if "uniecs" not in found:
        return
    ours = _read(found["uniecs"][:1], units)
    sizes = max(len(each.ranks) for each in ours), max(each.gallery for each in ours)
    print(f"\n## {name}: {steps} steps each, {sizes[0]} queries, gallery of {sizes[1]}\n")
    print(
        "| row | seeds | mean of nine R@1 | minus UniECS, 95% | R@10 | minus UniECS, 95% | text to both |"
        " image to text | image to both | both to text | both to both | same, minus UniECS, 95% |"
        " mixed gallery | CPU s |"
    )
    print("| --- |" + " --- |" * 13)
    for variant in VARIANTS:
        runs = found.get(variant.name, [])
        if runs:  # against UniECS of the same seeds
            cells = _cells(variant, _read(runs, units), _read(found["uniecs"][: len(runs)], units), runs)
            print("| " + " | ".join(cells) + " |")


def _cells(
    variant: Variant, mine: list[Judged], ours: list[Judged], runs: Sequence[dict[str, Any]]
) -> Iterator[str]:
    yield variant.label
    yield f"{len(runs)}"
    for at in (1, 10):
        yield f"{mean_recall_at(mine, at):.3f}"
        yield _gap(mine, ours, at)
    for asked, offered in (
        ("text", "both"),
        ("image", "text"),
        ("image", "both"),
        ("both", "text"),
        ("both", "both"),
    ):
        yield f"{mean_recall_at(_one(mine, asked, offered), 1):.3f}"
    yield _gap(_one(mine, "both", "both"), _one(ours, "both", "both"), 1)
    yield f"{np.mean([each.hits(10).mean() for each in mine if each.candidate not in FORMS]):.3f}"
    yield f"{math.ceil(sum(result['seconds'] for result in runs) / len(runs))}"


def _gap(mine: list[Judged], ours: list[Judged], at: int) -> str:
    low, high = mean_recall_interval(mine, at=at, minus=ours)
    return f"{mean_recall_at(mine, at) - mean_recall_at(ours, at):+.3f} [{low:+.3f}, {high:+.3f}]"


def _one(judged: list[Judged], asked: str, offered: str) -> list[Judged]:
    return [each for each in judged if (each.query, each.candidate) == (asked, offered)]
