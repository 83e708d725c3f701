"""How often the right answer is near the top, in nine scenarios; no torch.

A scenario is a form of the query (text, image, both) and a form of the
candidates. Every scenario searches its whole gallery, exactly. A query's right
answers are all candidates of its group; the rank counted is that of the best of
them, and a wrong answer with the same score counts as above it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rows import Item, Pair

CUTOFFS = (1, 5, 10)
FORMS = ("text", "image", "both")

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[Item]], Vectors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The figures of one query form against one candidate form."""

    query: str
    candidate: str
    queries: int
    gallery: int
    recall: dict[int, float]
    mrr_at_10: float


def evaluate(pairs: Sequence[Pair], embed: Embed) -> list[Scenario]:
    """Return the scenarios that the pairs can fill, in a fixed order.

    `embed` gets items reduced to one form and returns a unit vector for each.
    """
    scenarios = []
    queries = {form: _take(form, [(pair.query, pair.group) for pair in pairs]) for form in FORMS}
    galleries = {form: _take(form, [(pair.candidate, pair.group) for pair in pairs]) for form in FORMS}
    vectors = {
        id(side): embed([item for item, _ in side])
        for side in (*queries.values(), *galleries.values())
        if side
    }
    for asked, query in queries.items():
        for offered, gallery in galleries.items():
            if query and gallery:
                ranks = best_ranks(
                    vectors[id(query)], vectors[id(gallery)], [g for _, g in query], [g for _, g in gallery]
                )
                scenarios.append(_scenario(asked, offered, ranks, len(gallery)))
    return scenarios


def best_ranks(
    queries: Vectors,
    gallery: Vectors,
    query_groups: Sequence[frozenset[str]],
    groups: Sequence[frozenset[str]],
) -> NDArray[np.int64]:
    """Return the rank, from 1, of each query's best right answer; 0 where the gallery has none."""
    places: dict[str, list[int]] = {}
    for at, names in enumerate(groups):
        for name in names:
            places.setdefault(name, []).append(at)
    ranks = np.zeros(len(queries), dtype=np.int64)
    for at, names in enumerate(query_groups):
        right = sorted({place for name in names for place in places.get(name, [])})
        if not right:
            continue
        scores = gallery @ queries[at]
        wrong = np.ones(len(gallery), dtype=bool)
        wrong[right] = False
        ranks[at] = 1 + np.count_nonzero(scores[wrong] >= scores[right].max())
    return ranks


def mean_recall(scenarios: Sequence[Scenario], *, at: int = 10) -> float:
    """Return the mean R@k over the scenarios, 0 if there are none."""
    return float(np.mean([scenario.recall[at] for scenario in scenarios])) if scenarios else 0.0


def _scenario(asked: str, offered: str, ranks: NDArray[np.int64], gallery: int) -> Scenario:
    ranks = ranks[ranks > 0]  # a query whose answer lacks this form is not asked
    count = max(1, len(ranks))
    return Scenario(
        query=asked,
        candidate=offered,
        queries=len(ranks),
        gallery=gallery,
        recall={k: float(np.count_nonzero(ranks <= k) / count) for k in CUTOFFS},
        mrr_at_10=float(np.sum(1 / ranks[ranks <= 10]) / count),
    )


def _take(form: str, items: Sequence[tuple[Item, str]]) -> list[tuple[Item, frozenset[str]]]:
    """Reduce items to one form; equal ones become one, with the groups of all."""
    taken: dict[Item, set[str]] = {}
    for item, group in items:
        reduced = Item(item.text if form != "image" else None, item.image if form != "text" else None)
        needs = {"text": (reduced.text,), "image": (reduced.image,), "both": (reduced.text, reduced.image)}[
            form
        ]
        if None not in needs:
            taken.setdefault(reduced, set()).add(group)
    return [(item, frozenset(groups)) for item, groups in taken.items()]
