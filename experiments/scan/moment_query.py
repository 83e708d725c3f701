"""Moments by SQL: one row per unit in, count, means and co-moments per group out.

The engine's own variances are used, never sums of squares.
"""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import Any

from experiments.metrics import Moments

Rows = Callable[[str], list[tuple[Any, ...]]]


def moments_by(
    rows: Rows, relation: str, columns: Sequence[str], *, by: Sequence[str] = ("variant",)
) -> dict[tuple[str, ...], Moments]:
    """The moments of a relation's columns in each group, by the values of `by`."""
    keys = ", ".join(by)
    means = ", ".join(f'favg("{column}")' for column in columns)
    pairs = list(combinations_with_replacement(range(len(columns)), 2))
    products = ", ".join(f'covar_pop("{columns[i]}", "{columns[j]}") * count(*)' for i, j in pairs)
    found = rows(
        f"SELECT {keys}, count(*), {means}, {products} FROM {relation} GROUP BY {keys} ORDER BY {keys}"  # noqa: S608 - names of our own
    )
    return {row[: len(by)]: moments_of(columns, row[len(by) :]) for row in found}


def moments_of(columns: Sequence[str], numbers: Sequence[Any]) -> Moments:
    """Moments from one row: the count, the means, and the upper triangle of co-moments."""
    size = len(columns)
    pairs = combinations_with_replacement(range(size), 2)
    upper = dict(zip(pairs, numbers[1 + size :], strict=True))
    return Moments(
        columns=tuple(columns),
        count=int(numbers[0]),
        means=tuple(numbers[1 : 1 + size]),
        comoments=tuple(tuple(upper[min(i, j), max(i, j)] for j in range(size)) for i in range(size)),
    )
