"""Re-rank the first hits by the other direction: which product would ask for this query?

A product near everything is near this query too. Its score is set against its
scores for other queries (a fixed sample of what people ask), so a product that is
this query's above all rises. Pure; for the first N hits only, so it costs one small
matrix product; `reversed_scores` is that as a score for `evaluate.judge`. After reverse
re-ranking in TIGeR (arXiv 2406.05814).
"""

import numpy as np
from numpy.typing import NDArray

from .ranking import Score, Vectors, cosines


def reverse_rerank(
    query: Vectors, hits: Vectors, others: Vectors, *, temperature: float = 0.05, share: float = 0.5
) -> NDArray[np.int64]:
    """Return the order of the hits, best first.

    Args:
        query: the unit vector (D,) that was searched.
        hits: unit vectors (N, D) of the products found, in their order.
        others: unit vectors (M, D) of other queries.
        temperature: of the softmax over queries.
        share: of the reverse score in the sum; 0 keeps the order.
    """
    scores = hits @ query  # (N,)
    against = np.concatenate([scores[:, None], hits @ others.T], axis=1) / temperature  # (N, 1 + M)
    against -= against.max(axis=1, keepdims=True)
    # log P(query | product), brought to the scale of a cosine.
    reverse = temperature * (against[:, 0] - np.log(np.exp(against).sum(axis=1)))
    return np.argsort(-((1 - share) * scores + share * reverse), kind="stable").astype(np.int64)


def reversed_scores(others: Vectors, *, first: int = 50, share: float = 0.5) -> Score:
    """Return the cosine score with the first hits re-ranked; what is below them stays below."""

    def score(query: Vectors, gallery: Vectors) -> Vectors:
        scores = cosines(query, gallery)
        top = np.argsort(-scores, kind="stable")[:first]
        best = scores[top]
        scores[top[reverse_rerank(query, gallery[top], others, share=share)]] = best
        return scores

    return score
