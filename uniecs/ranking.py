"""Where the right answers of each query stand in a gallery; numpy only.

A right answer is a candidate of one of the query's groups, unless the file
graded it 0 or less. Ties are broken against us: whatever is less relevant and
has the same score stands above.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Score = Callable[[Vectors, Vectors], Vectors]  # a query (D,) and a gallery (N, D) to scores (N,)

TOP = 10  # of nDCG and MRR


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query: how relevant a group's candidates are, and those that were graded themselves."""

    groups: Mapping[str, float]
    graded: Mapping[int, float]  # by the candidate's number in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One entry of a gallery: the groups and the candidates of the file that look like this."""

    groups: frozenset[str]
    numbers: frozenset[int]


class Gallery:
    """Candidates by group and number, so that a query finds its right ones at once."""

    def __init__(self, offered: Sequence[Offered]) -> None:
        self._offered = offered
        self._places: dict[str | int, list[int]] = {}
        for at, entry in enumerate(offered):
            keys: tuple[str | int, ...] = (*entry.groups, *entry.numbers)
            for key in keys:
                self._places.setdefault(key, []).append(at)

    def __len__(self) -> int:
        return len(self._offered)

    def grades(self, asked: Asked) -> dict[int, float]:
        """Return the places of the relevant entries and their grades, over 0."""
        keys: tuple[str | int, ...] = (*asked.groups, *asked.graded)
        places = {place for key in keys for place in self._places.get(key, ())}
        found = {place: self._grade(asked, self._offered[place]) for place in places}
        return {place: grade for place, grade in found.items() if grade > 0}

    @staticmethod
    def _grade(asked: Asked, entry: Offered) -> float:
        own = [asked.graded[number] for number in entry.numbers if number in asked.graded]
        return max(own) if own else max(asked.groups.get(name, 0.0) for name in entry.groups)


def cosines(query: Vectors, gallery: Vectors) -> Vectors:
    """Score as an index does."""
    scores: Vectors = gallery @ query
    return scores


def ranks_and_gains(
    vectors: Vectors,
    asked: Sequence[Asked],
    gallery_vectors: Vectors,
    gallery: Gallery,
    score: Score = cosines,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each query's best rank, from 1, and its nDCG@10; 0 and NaN where nothing is right."""
    ranks = np.zeros(len(asked), dtype=np.int64)
    gains = np.full(len(asked), np.nan)
    for at, query in enumerate(asked):
        grades = gallery.grades(query)
        if not grades:
            continue
        scores = score(vectors[at], gallery_vectors)
        relevance = np.zeros(len(scores))
        relevance[list(grades)] = list(grades.values())
        right = relevance > 0
        ranks[at] = 1 + np.count_nonzero(scores[~right] >= scores[right].max())
        gains[at] = ndcg(scores, relevance)
    return ranks, gains


def ndcg(scores: NDArray[np.float32], relevance: NDArray[np.float64]) -> float:
    """Return nDCG@10 with gains 2^relevance - 1.

    >>> round(ndcg(np.array([0.9, 0.8, 0.7], dtype=np.float32), np.array([0.0, 2.0, 1.0])), 3)
    0.659
    """
    top = min(TOP, len(scores))
    edge = -np.partition(-scores, top - 1)[top - 1]
    near = np.flatnonzero(scores >= edge)  # all that tie with the last one, too
    order = near[np.lexsort((relevance[near], -scores[near]))][:top]
    discounts = 1 / np.log2(np.arange(2, top + 2))
    ideal = np.sort(relevance)[::-1][:top]
    return float((2 ** relevance[order] - 1) @ discounts / ((2**ideal - 1) @ discounts))


def best_ranks(
    queries: Vectors,
    gallery: Vectors,
    query_groups: Sequence[frozenset[str]],
    groups: Sequence[frozenset[str]],
) -> NDArray[np.int64]:
    """Return the rank, from 1, of each query's best right answer; 0 where the gallery has none."""
    asked = [Asked(groups=dict.fromkeys(names, 1.0), graded={}) for names in query_groups]
    offered = Gallery([Offered(groups=names, numbers=frozenset()) for names in groups])
    return ranks_and_gains(queries, asked, gallery, offered)[0]
