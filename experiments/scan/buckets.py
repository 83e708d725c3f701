"""Units hashed into buckets whose moments add up: split again and again, and no row is read twice.

For means, ratios and CUPED this is exact, not a sample of anything: a split of
buckets is a split of units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.metrics import Moments

Matrix = NDArray[np.float64]

BUCKETS = 1_000


@dataclass(frozen=True, slots=True)
class Stack:
    """The moments of some buckets as arrays, about their common centre."""

    columns: tuple[str, ...]
    counts: Matrix
    centre: Matrix
    gaps: Matrix
    products: Matrix

    @classmethod
    def of(cls, buckets: Sequence[Moments]) -> "Stack":
        """Stack buckets; empty ones are left out."""
        filled = [it for it in buckets if it.count]
        counts = np.array([it.count for it in filled], dtype=float)
        means = np.array([it.means for it in filled]).reshape(len(filled), -1)
        centre = counts @ means / max(counts.sum(), 1.0)
        gaps = means - centre
        # About one common centre, sums of products add up without losing digits.
        products = np.array([it.comoments for it in filled]) + counts[:, None, None] * (
            gaps[:, :, None] * gaps[:, None, :]
        )
        return cls(filled[0].columns if filled else (), counts, centre, gaps, products)

    def halves(self, *, runs: int, rng: np.random.Generator) -> tuple[dict[str, Matrix], dict[str, Matrix]]:
        """Split the buckets in two at random, many times: count, mean and covariance of each half."""
        size = len(self.counts)
        sides = np.zeros((runs, size))
        for run in range(runs):
            sides[run, rng.permutation(size)[: size // 2]] = 1.0
        return self._side(sides), self._side(1 - sides)

    def _side(self, sides: Matrix) -> dict[str, Matrix]:
        n = sides @ self.counts
        shift = sides @ (self.counts[:, None] * self.gaps) / n[:, None]
        width = self.gaps.shape[1]
        added = (sides @ self.products.reshape(len(self.counts), -1)).reshape(-1, width, width)
        sums = added - n[:, None, None] * (shift[:, :, None] * shift[:, None, :])
        return {"n": n, "means": self.centre + shift, "covariance": sums / (n - 1)[:, None, None]}


def pack(buckets: Mapping[int, Moments], columns: Sequence[str]) -> dict[str, Any]:
    """Buckets as lists of numbers, the upper triangle only: a third of the text."""
    size = range(len(columns))
    return {
        "columns": list(columns),
        "rows": [
            [place, it.count, *it.means, *(it.comoments[i][j] for i in size for j in size if i <= j)]
            for place, it in sorted(buckets.items())
        ],
    }


def unpack(found: Mapping[str, Any]) -> dict[int, Moments]:
    """The buckets that `pack` made."""
    columns = tuple(found["columns"])
    size = len(columns)
    upper = np.triu_indices(size)
    buckets = {}
    for place, count, *numbers in found["rows"]:
        square = np.zeros((size, size))
        square[upper] = numbers[size:]
        whole = square + np.triu(square, 1).T
        buckets[int(place)] = Moments(
            columns=columns, count=count, means=tuple(numbers[:size]), comoments=tuple(map(tuple, whole))
        )
    return buckets
