"""How often the right answer is near the top, in nine scenarios and a mixed gallery; no torch.

A scenario is a form of the query (text, image, both) and a form of the
candidates. Every scenario searches its whole gallery, exactly. A query's right
answers are all candidates of its group; the rank counted is that of the best of
them, and a wrong answer with the same score counts as above it. In the mixed
gallery each candidate takes one form by lot, so that a model which prefers a
form, whatever is asked, is seen.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .intervals import interval, mean_interval
from .ranking import TOP, Asked, Gallery, Offered, Score, Vectors, best_ranks, cosines, ranks_and_gains
from .rows import Item, Pair

__all__ = [
    "CUTOFFS",
    "MIXED",
    "Judged",
    "Scenario",
    "Vectors",
    "best_ranks",
    "evaluate",
    "judge",
    "mean_recall",
]

CUTOFFS = (1, 5, 10, 20, 50)
FORMS = ("text", "image", "both")
MIXED = "mixed"

Embed = Callable[[Sequence[Item]], Vectors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What each query of a scenario found.

    Attributes:
        ranks: of the best right answer, from 1.
        ndcg: nDCG@10, with grades.
        units: the first group of each query; what a bootstrap draws.
    """

    query: str
    candidate: str
    gallery: int
    ranks: NDArray[np.int64]
    ndcg: NDArray[np.float64]
    units: tuple[str, ...]

    def hits(self, at: int) -> NDArray[np.float64]:
        """Return 1 for each query with a right answer among the first `at`, else 0."""
        return (self.ranks <= at).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The figures of one query form against one candidate form."""

    query: str
    candidate: str
    queries: int
    gallery: int
    recall: dict[int, float]
    mrr_at_10: float
    ndcg_at_10: float
    recall_at_10_interval: tuple[float, float]  # 95%, bootstrap


def evaluate(pairs: Sequence[Pair], embed: Embed, *, mixed: bool = False) -> list[Scenario]:
    """Return the scenarios that the pairs can fill, in a fixed order; `mixed` adds the mixed gallery.

    `embed` gets items reduced to one form and returns a unit vector for each.
    """
    return [_summary(each) for each in judge(pairs, embed, mixed=mixed)]


def judge(
    pairs: Sequence[Pair], embed: Embed, *, mixed: bool = False, score: Score = cosines
) -> list[Judged]:
    """Return what each query found, for whoever compares models query by query."""
    queries = {form: _queries(pairs, form) for form in FORMS}
    galleries = {form: _gallery(pairs, lambda _, form=form: form) for form in FORMS}  # type: ignore[misc]
    if mixed:
        galleries[MIXED] = _gallery(pairs, _form_by_lot)
    asked = {form: embed(list(side)) for form, side in queries.items() if side}
    offered = {form: embed(list(side)) for form, side in galleries.items() if side}
    judged = []
    for form, vectors in asked.items():
        for name, gallery_vectors in offered.items():
            side, gallery = queries[form], Gallery(list(galleries[name].values()))
            ranks, ndcg = ranks_and_gains(vectors, list(side.values()), gallery_vectors, gallery, score)
            has = ranks > 0  # a query whose answer lacks this form is not asked
            units = [min(query.groups) for query in side.values()]
            judged.append(
                Judged(
                    query=form,
                    candidate=name,
                    gallery=len(gallery),
                    ranks=ranks[has],
                    ndcg=ndcg[has],
                    units=tuple(unit for unit, kept in zip(units, has, strict=True) if kept),
                )
            )
    return judged


def mean_recall(scenarios: Sequence[Scenario], *, at: int = 10) -> float:
    """Return the mean R@k over the scenarios of one form, 0 if there are none."""
    found = [scenario.recall[at] for scenario in scenarios if scenario.candidate != MIXED]
    return float(np.mean(found)) if found else 0.0


def mean_recall_interval(
    judged: Sequence[Judged], *, at: int = 10, minus: Sequence[Judged] | None = None
) -> tuple[float, float]:
    """Return the 95% interval of the mean R@k over scenarios, or of its difference to another model's."""
    mine = [each for each in judged if each.candidate != MIXED]
    theirs = [each for each in minus if each.candidate != MIXED] if minus is not None else None
    return mean_interval(
        [each.hits(at) for each in mine],
        [each.units for each in mine],
        minus=[each.hits(at) for each in theirs] if theirs is not None else None,
    )


def _summary(judged: Judged) -> Scenario:
    count = max(1, len(judged.ranks))
    return Scenario(
        query=judged.query,
        candidate=judged.candidate,
        queries=len(judged.ranks),
        gallery=judged.gallery,
        recall={k: float(judged.hits(k).sum() / count) for k in CUTOFFS},
        mrr_at_10=float(np.sum(1 / judged.ranks[judged.ranks <= TOP]) / count),
        ndcg_at_10=float(judged.ndcg.sum() / count),
        recall_at_10_interval=interval(judged.hits(10), judged.units),
    )


def _queries(pairs: Sequence[Pair], form: str) -> dict[Item, Asked]:
    """Reduce queries to one form; equal ones become one, with the groups and grades of all."""
    numbers = _numbers(pairs)
    groups: dict[Item, dict[str, float]] = {}
    graded: dict[Item, dict[int, float]] = {}
    for pair in pairs:
        reduced = _reduce(pair.query, form)
        if reduced is None:
            continue
        number, grade = numbers[pair.candidate], pair.grade
        by_group, by_number = groups.setdefault(reduced, {}), graded.setdefault(reduced, {})
        by_group[pair.group] = max(grade, by_group.get(pair.group, grade))
        by_number[number] = max(grade, by_number.get(number, grade))
    return {item: Asked(groups=groups[item], graded=graded[item]) for item in groups}


def _gallery(pairs: Sequence[Pair], form_of: Callable[[Item], str]) -> dict[Item, Offered]:
    numbers = _numbers(pairs)
    groups: dict[Item, set[str]] = {}
    of_file: dict[Item, set[int]] = {}
    for pair in pairs:
        reduced = _reduce(pair.candidate, form_of(pair.candidate))
        if reduced is not None:
            groups.setdefault(reduced, set()).add(pair.group)
            of_file.setdefault(reduced, set()).add(numbers[pair.candidate])
    return {
        item: Offered(groups=frozenset(groups[item]), numbers=frozenset(of_file[item])) for item in groups
    }


def _numbers(pairs: Sequence[Pair]) -> Mapping[Item, int]:
    return {item: number for number, item in enumerate(dict.fromkeys(pair.candidate for pair in pairs))}


def _reduce(item: Item, form: str) -> Item | None:
    """Return what is left of an item in a form, None where it lacks a part of the form."""
    shown = (item.image, item.more) if form != "text" else (None, ())
    reduced = Item(item.text if form != "image" else None, *shown)
    lacks = (reduced.text is None and form != "image") or (reduced.image is None and form != "text")
    return None if lacks else reduced


def _form_by_lot(item: Item) -> str:
    """One of the three forms for good, by the item's own words and file name; what it has, if it has one."""
    if item.text is None or item.image is None:
        return "image" if item.text is None else "text"
    key = f"{item.text}\n{item.image.name}"
    return FORMS[int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:4], "big") % 3]
