"""Sums of deviations from guessed centres, as one query gives them, to moments. Pure.

A centre is near the mean, so no digits are lost by subtracting squares; sums of
whole numbers are exact whatever the centre. Where a centre was not near enough,
the sums themselves say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import isfinite
from typing import Any

from experiments.metrics import Moments, Shape

from .table_moments import is_far, skewness_of

# Sums by the SQL that asked for them.
Sums = Mapping[str, Any]

ROWS = "count(*)"

# How many times more squares than are left may be cut away by subtraction: four digits of sixteen.
_CUT_AWAY = 1e4


class Unclean(Exception):
    """The table is not what the quick way takes for granted."""


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """A column of numbers, `n` in SQL, and its deviation from the guessed centre, `d`.

    Attributes:
        centre: an int where the column is added as whole numbers, exactly; else a float.
    """

    place: int
    centre: int | float

    @property
    def cell(self) -> str:
        """As it stands."""
        return f"n{self.place}"

    @property
    def away(self) -> str:
        """Its deviation."""
        return f"d{self.place}"

    @property
    def select(self) -> str:
        """Both, for a subquery."""
        number = self.cell if isinstance(self.centre, int) else f"CAST({self.cell} AS DOUBLE)"
        shift = f" - ({self.centre!r})" if self.centre else ""
        return f"{self.cell}, {number}{shift} AS {self.away}"

    @property
    def total(self) -> str:
        """The sum of deviations."""
        return f"sum({self.away})"

    @property
    def cubes(self) -> str:
        """The sum of their cubes."""
        return f"sum(CAST({self.away} * {self.away} AS DOUBLE) * {self.away})"

    @property
    def largest(self) -> str:
        """Of the column itself."""
        return f"max({self.cell})"

    @property
    def present(self) -> str:
        """How many rows have a number."""
        return f"count({self.cell})"

    @property
    def positive(self) -> str:
        """How many rows have more than nothing."""
        return f"sum(CAST({self.cell} > 0 AS INTEGER))"

    @property
    def no_flag(self) -> str:
        """How many rows have neither 0 nor 1."""
        return f"sum(CAST({self.cell} NOT IN (0, 1) AS INTEGER))"


def products(one: Column, other: Column) -> str:
    """The sum of products of two columns' deviations, written one way only."""
    first, second = sorted((one, other))
    return f"sum({first.away} * {second.away})"


def added(one: Sums, other: Sums) -> dict[str, Any]:
    """The sums of both sets of rows together."""
    return {
        asked: max(value, other[asked]) if asked.startswith("max") else value + other[asked]
        for asked, value in one.items()
    }


def cut_off(told: Sums, above: Sums, columns: Sequence[Column], cap: float) -> dict[str, Any]:
    """The sums as if every row above the cap, whose sums are given, had the cap in the first column.

    Raises:
        Unclean: what is cut away is so much that what is left has lost its digits.
    """
    y, *others = columns
    rows, end = above[ROWS], cap - y.centre
    squares = told[products(y, y)] - above[products(y, y)] + rows * end * end
    if above[products(y, y)] > _CUT_AWAY * squares:
        raise Unclean
    return {
        **told,
        y.total: told[y.total] - above[y.total] + rows * end,
        products(y, y): squares,
        y.cubes: told[y.cubes] - above[y.cubes] + rows * end * end * end,
        **{
            products(y, x): told[products(y, x)] - above[products(y, x)] + end * above[x.total]
            for x in others
        },
    }


def moments_of(told: Sums, letters: Sequence[str], columns: Sequence[Column]) -> Moments:
    """The moments of some columns.

    Raises:
        Unclean: a sum is no number, or a centre was far off.
    """
    n = int(told[ROWS])
    upper: dict[tuple[int, int], float] = {}
    for i, j in combinations_with_replacement(range(len(columns)), 2):
        one, other = columns[i], columns[j]
        upper[i, j] = _about_mean(n, told[products(one, other)], told[one.total], told[other.total])
    for i, column in enumerate(columns):
        if not isfinite(upper[i, i]) or is_far(n, told[column.total] / n, upper[i, i]):
            raise Unclean
    return Moments(
        columns=tuple(letters),
        count=n,
        means=tuple(column.centre + told[column.total] / n for column in columns),
        comoments=tuple(
            tuple(upper[min(i, j), max(i, j)] for j in range(len(columns))) for i in range(len(columns))
        ),
    )


def shape_of(told: Sums, column: Column, *, largest: float, skewed: bool) -> Shape:
    """The largest of a column, and its skewness where that is wanted."""
    n, shift = int(told[ROWS]), told[column.total] / told[ROWS]
    square = told[products(column, column)] / n - shift * shift
    third = told[column.cubes] / n - shift * (3 * square + shift * shift)
    skewness = skewness_of(third, square) if skewed and n > 2 else None
    return Shape(skewness=skewness, largest=float(largest))


def _about_mean(n: int, product: float, one: float, other: float) -> float:
    """Whole numbers are rounded once, at the end."""
    if isinstance(product, int) and isinstance(one, int) and isinstance(other, int):
        return (n * product - one * other) / n
    return product - one * (other / n)
