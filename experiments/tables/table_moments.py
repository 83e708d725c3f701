"""Moments of a table's metrics in one pass, by sums of deviations from a guessed centre.

The centre is zero or the mean of the first rows: near enough that no digits are
lost, and a sum costs a third of a running variance. Where it was not near enough,
which the numbers themselves tell, the engine's running variances are asked
instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import isfinite, sqrt
from typing import Any

from experiments.metrics import Moments, Shape

from .formula import Formula

Rows = Callable[[str], list[tuple[Any, ...]]]

# The share of a column's spread that a centre may be off, squared, before digits are lost that matter.
_FAR = 1e6

# Within this many standard deviations of its mean a centre loses two digits of sixteen.
_NEAR = 10.0

_GUESSED_FROM = 20_000  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A metric's columns as SQL, y first, for the letters of its moments.

    Attributes:
        condition: under which a row counts; empty where every row does.
        centres: the guessed mean of each.
    """

    formula: Formula
    letters: tuple[str, ...]
    cells: tuple[str, ...]
    centres: tuple[float, ...]
    condition: str = ""


Found = list[tuple[str, str, list[tuple[Moments, Shape]]]]


def letters_of(formula: Formula) -> tuple[str, ...]:
    """y, over d where there is one, then x, over e."""
    return (*("yd" if formula.below else "y"), *"xe"[: len(formula.covariate)])


def guess_centres(rows: Rows, cells: Sequence[str]) -> dict[str, float]:
    """The mean of each cell over the first rows; 0 where that is near enough, so that counts stay whole."""
    if not cells:
        return {}
    asked = ", ".join(f"avg({cell}), stddev_pop({cell})" for cell in cells)
    found = rows(f"SELECT {asked} FROM (SELECT * FROM unit_row LIMIT {_GUESSED_FROM})")[0]  # noqa: S608
    centres = {}
    for place, cell in enumerate(cells):
        mean, deviation = found[2 * place] or 0.0, found[2 * place + 1] or 0.0
        centres[cell] = mean if isfinite(mean) and abs(mean) > _NEAR * deviation else 0.0
    return centres


def moments_in_one_pass(
    rows: Rows, wanted: Sequence[Wanted], cut: str, *, refuse_infinity: Callable[[], None]
) -> Found:
    """Per variant and value of a cut, the moments and shape of each metric, in the order asked for.

    `refuse_infinity` is asked only where a sum is odd: most tables never pay for it.
    """
    inside: dict[tuple[str, str, float], str] = {}
    for it in wanted:
        for cell, centre in zip(it.cells, it.centres, strict=True):
            inside.setdefault((it.condition, cell, centre), f"d{len(inside)}")
    sums: dict[str, None] = {"count(*)": None}
    plans = [_plan(it, inside, sums) for it in wanted]
    columns = ", ".join(
        f"({f'CASE WHEN {condition} THEN {cell} END' if condition else cell})"
        f"{f' - ({centre!r})' if centre else ''} AS {name}"
        for (condition, cell, centre), name in inside.items()
    )
    found: Found = []
    for variant, value, *numbers in rows(
        f"WITH away AS (SELECT v, {cut} AS s, {columns} FROM unit_row)"  # noqa: S608 - names of our own
        f" SELECT v, s, {', '.join(sums)} FROM away GROUP BY v, s ORDER BY s, v"
    ):
        told = dict(zip(sums, numbers, strict=True))
        of_metrics = [_read(plan, told) for plan in plans]
        if any(moments is None for moments, _ in of_metrics):
            refuse_infinity()
            return _by_running_variances(rows, wanted, cut)
        found.append(
            (variant, str(value), [(moments, shape) for moments, shape in of_metrics if moments is not None])
        )
    return found


def is_far(n: int, shift: float, squares: float) -> bool:
    """Whether a centre is so far off the mean that the sum of squared deviations has lost digits."""
    return n * shift * shift > _FAR * squares + 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    wanted: Wanted
    names: tuple[str, ...]


def _plan(it: Wanted, inside: Mapping[tuple[str, str, float], str], sums: dict[str, None]) -> _Plan:
    names = tuple(
        inside[it.condition, cell, centre] for cell, centre in zip(it.cells, it.centres, strict=True)
    )
    first = names[0]
    asked = [f"count({first})", *(f"sum({name})" for name in names)]
    asked += [f"sum({i} * {j})" for i, j in combinations_with_replacement(names, 2)]
    asked += [f"sum({first} * {first} * {first})", f"max({first})"]
    sums.update(dict.fromkeys(asked))
    return _Plan(wanted=it, names=names)


def _read(plan: _Plan, told: Mapping[str, Any]) -> tuple[Moments | None, Shape]:
    """Moments from sums about the centre; None where the centre was too far off."""
    it, names = plan.wanted, plan.names
    n = int(told[f"count({names[0]})"])
    if not n:
        zeros = (0.0,) * len(names)
        empty = Moments(columns=it.letters, count=0, means=zeros, comoments=(zeros,) * len(names))
        return empty, Shape(skewness=None, largest=0.0)
    shifts = [told[f"sum({name})"] / n for name in names]
    upper: dict[tuple[int, int], float] = {}
    for i, j in combinations_with_replacement(range(len(names)), 2):
        upper[i, j] = told[f"sum({names[i]} * {names[j]})"] - n * shifts[i] * shifts[j]
    for i, shift in enumerate(shifts):
        # An infinity or a centre that is far off shows here, and so does a column without any spread.
        if not isfinite(upper[i, i]) or is_far(n, shift, upper[i, i]):
            return None, Shape(skewness=None, largest=0.0)
    moments = Moments(
        columns=it.letters,
        count=n,
        means=tuple(centre + shift for centre, shift in zip(it.centres, shifts, strict=True)),
        comoments=tuple(
            tuple(upper[min(i, j), max(i, j)] for j in range(len(names))) for i in range(len(names))
        ),
    )
    first, shift, square = names[0], shifts[0], upper[0, 0] / n
    third = told[f"sum({first} * {first} * {first})"] / n - shift * (3 * square + shift * shift)
    skewness = skewness_of(third, square) if n > 2 else None
    return moments, Shape(skewness=skewness, largest=it.centres[0] + told[f"max({first})"])


def _by_running_variances(rows: Rows, wanted: Sequence[Wanted], cut: str) -> Found:
    """The same, slower, right whatever the numbers are; the third moment in a pass of its own."""
    columns, sums, widths = [], [], []
    for number, it in enumerate(wanted):
        names = [f"{letter}{number}" for letter in it.letters]
        columns += [
            f"{f'CASE WHEN {it.condition} THEN {cell} END' if it.condition else cell} AS {name}"
            for cell, name in zip(it.cells, names, strict=True)
        ]
        parts = [f"count({names[0]})", *(f"favg({name})" for name in names)]
        parts += [f"covar_pop({i}, {j})" for i, j in combinations_with_replacement(names, 2)]
        parts += [f"max({names[0]})"]
        sums += parts
        widths.append(len(parts))
    shown = f"WITH shown AS (SELECT v, {cut} AS s, {', '.join(columns)} FROM unit_row)"  # noqa: S608
    found: Found = []
    for variant, value, *numbers in rows(
        f"{shown} SELECT v, s, {', '.join(sums)} FROM shown GROUP BY v, s ORDER BY s, v"  # noqa: S608
    ):
        of_metrics = []
        for it, width in zip(wanted, widths, strict=True):
            mine, numbers = numbers[:width], numbers[width:]  # noqa: PLW2901 - eaten from the left
            of_metrics.append((_running(it.letters, mine), Shape(skewness=None, largest=mine[-1] or 0.0)))
        found.append((variant, str(value), of_metrics))
    numbers_of = range(len(wanted))
    middles = ", ".join(f"favg(y{number}) AS m{number}" for number in numbers_of)
    cubes = ", ".join(f"avg(pow(y{number} - m{number}, 3))" for number in numbers_of)
    # One row a group, joined: a filter for each would be as many as groups times metrics.
    thirds = {
        (variant, str(value)): values
        for variant, value, *values in rows(
            f"{shown}, middle AS (SELECT v, s, {middles} FROM shown GROUP BY v, s)"  # noqa: S608
            f" SELECT v, s, {cubes} FROM shown JOIN middle USING (v, s) GROUP BY v, s"
        )
    }
    return [
        (
            variant,
            value,
            [
                (it, _shape(it, shape, third))
                for (it, shape), third in zip(metrics, thirds[variant, value], strict=True)
            ],
        )
        for variant, value, metrics in found
    ]


def _shape(moments: Moments, shape: Shape, third: float | None) -> Shape:
    spread = moments.comoments[0][0] / moments.count if moments.count > 2 else 0.0
    return Shape(skewness=None if third is None else skewness_of(third, spread), largest=shape.largest)


def skewness_of(third: float, spread: float) -> float | None:
    """None without any spread, and where the cube is beyond floats."""
    cube = spread * sqrt(spread) if spread > 0 else 0.0
    return third / cube if 0 < cube < float("inf") and isfinite(third) else None


def _running(letters: tuple[str, ...], numbers: Sequence[Any]) -> Moments:
    count, width = int(numbers[0]), len(letters)
    if not count:
        zeros = (0.0,) * width
        return Moments(columns=letters, count=0, means=zeros, comoments=(zeros,) * width)
    pairs = combinations_with_replacement(range(width), 2)
    covariances = dict(zip(pairs, numbers[1 + width : -1], strict=True))
    return Moments(
        columns=letters,
        count=count,
        means=tuple(numbers[1 : 1 + width]),
        comoments=tuple(
            tuple(covariances[min(i, j), max(i, j)] * count for j in range(width)) for i in range(width)
        ),
    )
