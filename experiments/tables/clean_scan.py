"""A table without gaps, in one pass: every count and sum of every metric from one reading of its columns.

Most tables are clean: each number is there, and finite. That is taken for
granted here, and the sums themselves tell where it is wrong: a count is too
small, or a sum is no number. Then, and for what this way does not know, the
answer is None, and the careful way of `table`, which counts and explains, is
taken. What a cap cuts is read by itself: the few rows above a guessed value.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from math import ceil, floor, isfinite
from typing import Any

from experiments.metrics import Moments, Shape
from experiments.warehouse import DatabaseError

from .clean_sums import ROWS, Column, Sums, Unclean, added, cut_off, moments_of, products, shape_of
from .formula import Formula
from .scanned import MOST_SEGMENTS, MOST_VARIANTS, WHOLE, TableScan
from .table_moments import letters_of

# Centres, and where a tail begins, are guessed from so many rows.
_GUESSED_FROM = 20_000

# A tail is guessed twice as long as it must be, and by so many rows of the guess longer.
_SPARE = 12

_MOST_GROUPS = (MOST_VARIANTS + 2) * (MOST_SEGMENTS + 1)

_Groups = dict[tuple[str, str], Sums]  # by variant and value of a segment
_Moments = dict[tuple[str, str, str], dict[str, Moments]]


def scan_clean(
    connection: Any, formulas: Sequence[Formula], numbers: Sequence[str], segments: Sequence[str]
) -> TableScan | None:
    """The scan of the view `plain`, a row a unit; None where the careful way is to be taken."""
    if any(formula.kind == "quantile" for formula in formulas):
        return None
    for exact in (True, False):
        try:
            return _CleanScan(connection, formulas, numbers, segments, exact=exact).scan()
        except DatabaseError:  # products of whole numbers may be too large for their kind: as doubles then
            continue
        except Unclean:
            break
    return None


class _CleanScan:
    def __init__(
        self,
        connection: Any,
        formulas: Sequence[Formula],
        numbers: Sequence[str],
        segments: Sequence[str],
        *,
        exact: bool,
    ) -> None:
        self._connection = connection
        self._exact = exact
        self._formulas = formulas
        self._cuts = {name: f"s{place}" for place, name in enumerate(segments)}
        capped: dict[int, list[float]] = {}
        for it in formulas:
            if it.cap is not None:
                capped.setdefault(numbers.index(it.column), []).append(it.cap)
        self._every, self._tails = self._guess(len(numbers), capped)
        self._columns = {
            it.name: tuple(self._every[numbers.index(column)] for column in it.columns) for it in formulas
        }

    def scan(self) -> TableScan:
        """Everything, whole and by segment.

        Raises:
            Unclean: the table is not.
        """
        groups = {name: self._sums(cell) for name, cell in self._cuts.items()}
        groups = {WHOLE: _whole(next(iter(groups.values()))) if groups else self._sums(""), **groups}
        rows = {variant: int(told[ROWS]) for (variant, _), told in sorted(groups[WHOLE].items())}
        unlabelled = rows.pop("", 0)
        if not 0 < len(rows) <= MOST_VARIANTS:
            raise Unclean
        groups = {name: {key: told for key, told in cut.items() if key[0]} for name, cut in groups.items()}
        for place, start in self._tails.items():
            self._keep_tail(place, start)
        caps: dict[str, float] = {}
        moments: _Moments = {}
        raw: _Moments = {}
        shapes: dict[str, dict[str, Shape]] = {}
        for it in self._formulas:
            cap = self._cap(it, groups[WHOLE])
            kept = groups
            if cap is not None:
                caps[it.name] = cap
                raw |= self._moments(it, groups)
                kept = {name: self._capped(it, cap, name, cut) for name, cut in groups.items()}
            moments |= self._moments(it, kept)
            if it.below is None:
                shapes[it.name] = self._shapes(it, kept[WHOLE], groups[WHOLE], cap)
        return TableScan(
            units=rows,
            rows=sum(rows.values()) + unlabelled,
            unlabelled_rows=unlabelled,
            crossed_units=0,
            missing={},
            caps=caps,
            moments=moments,
            raw=raw,
            shapes=shapes,
        )

    def _guess(
        self, numbers: int, capped: Mapping[int, Sequence[float]]
    ) -> tuple[list[Column], dict[int, float]]:
        """From the first rows, a centre for each column, and where the tail of each capped one begins."""
        wanted = {place: _above(caps, _GUESSED_FROM) for place, caps in capped.items()}
        asked = [
            f"avg(n{place}), stddev_pop(n{place}), typeof(any_value(n{place})) <> 'DOUBLE'"
            for place in range(numbers)
        ]
        asked += [f"count(*) FILTER (WHERE n{at} > 0), max(n{at}, {most + 1})" for at, most in wanted.items()]
        found = self._rows(f"SELECT {', '.join(asked)} FROM (SELECT * FROM plain LIMIT {_GUESSED_FROM})")[0]  # noqa: S608
        columns = []
        for place in range(numbers):
            mean, deviation, is_whole = found[3 * place : 3 * place + 3]
            centre = _centre(mean, deviation)
            columns.append(Column(place, round(centre) if is_whole and self._exact else float(centre)))
        tails = {}
        for number, (place, caps) in enumerate(capped.items()):
            having, highest = found[3 * numbers + 2 * number :][:2]
            spot = _above(caps, having)
            guessed = float(highest[spot]) if spot < having else 0.0
            declared = [cap for cap in caps if cap >= 1]
            tails[place] = min(declared if len(declared) == len(caps) else [guessed, *declared])
        return columns, tails

    def _sums(self, cell: str) -> _Groups:
        """One pass: all sums by variant, and by the values of a segment's cell."""
        asked = self._questions()
        keys, away = f"v, {cell}" if cell else "v", ", ".join(column.select for column in self._every)
        rows = self._rows(
            f"SELECT {keys}, {', '.join(asked)} FROM (SELECT {keys}, {away} FROM plain)"  # noqa: S608
            f" GROUP BY {keys} LIMIT {_MOST_GROUPS}"
        )
        if len(rows) == _MOST_GROUPS:
            raise Unclean
        groups: _Groups = {}
        for variant, *more in rows:
            value, numbers = (str(more[0]), more[1:]) if cell else (WHOLE, more)
            told = dict(zip(asked, numbers, strict=True))
            if any(told[column.present] != told[ROWS] for column in self._every):
                raise Unclean
            if not all(isfinite(number) for number in numbers):
                raise Unclean
            if any(
                told[self._columns[it.name][0].no_flag] for it in self._formulas if it.kind == "proportion"
            ):
                raise Unclean
            key = (variant or "", value)
            groups[key] = added(groups[key], told) if key in groups else told
        if len({value for _, value in groups}) > MOST_SEGMENTS:
            raise Unclean
        return groups

    def _questions(self) -> list[str]:
        asked = {ROWS: None} | dict.fromkeys(column.present for column in self._every)
        for it in self._formulas:
            columns = self._columns[it.name]
            asked |= dict.fromkeys(column.total for column in columns)
            asked |= dict.fromkeys(products(*pair) for pair in combinations_with_replacement(columns, 2))
            y = columns[0]
            if it.kind == "proportion":
                asked[y.no_flag] = None
            if it.below is None:
                asked[y.cubes] = None
                if y.place not in self._tails:
                    asked[y.largest] = None
        # A quantile is among those that have any.
        asked |= dict.fromkeys(self._every[place].positive for place in self._tails)
        return list(asked)

    def _keep_tail(self, place: int, start: float) -> None:
        """The table `tail0` and so on: the rows above a value of a column."""
        beside = {
            column.cell
            for it in self._formulas
            if it.cap is not None and self._columns[it.name][0].place == place
            for column in self._columns[it.name]
        }
        kept = ", ".join(["v", *self._cuts.values(), *sorted(beside)])
        self._rows(
            f"CREATE OR REPLACE TEMP TABLE tail{place} AS SELECT {kept} FROM plain WHERE n{place} > {start!r}"  # noqa: S608
        )

    def _cap(self, formula: Formula, whole: _Groups) -> float | None:
        """As declared, or a quantile of the units that have any, all variants together."""
        if formula.cap is None or formula.cap >= 1:
            return formula.cap
        y = self._columns[formula.name][0]
        having = sum(int(told[y.positive]) for told in whole.values())
        if not having:
            return None
        spot = formula.cap * (having - 1)
        low, high = floor(spot), ceil(spot)
        tail = f"(SELECT {y.cell} FROM tail{y.place} WHERE v <> '')"  # noqa: S608 - names of our own
        if self._rows(f"SELECT count(*) FROM {tail}")[0][0] < having - low:  # noqa: S608
            # The first rows were not like the others.
            query = (
                f"SELECT quantile_cont({y.cell}, {formula.cap!r}) FROM plain WHERE v <> '' AND {y.cell} > 0"  # noqa: S608
            )
            cap = float(self._rows(query)[0][0])
            self._keep_tail(y.place, min(cap, self._tails[y.place]))
            return cap
        found = self._rows(f"SELECT * FROM {tail} ORDER BY 1 DESC LIMIT 2 OFFSET {having - 1 - high}")  # noqa: S608
        above, below = float(found[0][0]), float(found[high - low][0])
        return below + (above - below) * (spot - low)

    def _capped(self, formula: Formula, cap: float, segment: str, groups: _Groups) -> _Groups:
        """The sums with every total above the cap counted as the cap."""
        columns = self._columns[formula.name]
        y, cell = columns[0], self._cuts.get(segment, "")
        asked = dict.fromkeys([ROWS, y.cubes, *(column.total for column in columns)])
        asked |= dict.fromkeys(products(y, column) for column in columns)
        keys, away = f"v, {cell}" if cell else "v", ", ".join(column.select for column in columns)
        above = {
            (variant, str(more[0]) if cell else WHOLE): dict(zip(asked, more[-len(asked) :], strict=True))
            for variant, *more in self._rows(
                f"SELECT {keys}, {', '.join(asked)} FROM (SELECT {keys}, {away} FROM tail{y.place}"  # noqa: S608
                f" WHERE v <> '' AND {y.cell} > {cap!r}) GROUP BY {keys}"
            )
        }
        return {
            key: cut_off(told, above[key], columns, cap) if key in above else told
            for key, told in groups.items()
        }

    def _moments(self, formula: Formula, groups: Mapping[str, _Groups]) -> _Moments:
        letters, columns = letters_of(formula), self._columns[formula.name]
        found: _Moments = {}
        for segment, cut in groups.items():
            for (variant, value), told in cut.items():
                of_value = found.setdefault((formula.name, segment, value), {})
                of_value[variant] = moments_of(told, letters, columns)
        return found

    def _shapes(self, formula: Formula, kept: _Groups, whole: _Groups, cap: float | None) -> dict[str, Shape]:
        y = self._columns[formula.name][0]
        if y.place not in self._tails:
            largest = {variant: float(told[y.largest]) for (variant, _), told in whole.items()}
        else:
            largest = dict(self._rows(f"SELECT v, max({y.cell}) FROM tail{y.place} GROUP BY v"))  # noqa: S608
            if any(variant not in largest for variant, _ in whole):  # none of it is in the tail
                largest = dict(self._rows(f"SELECT v, max({y.cell}) FROM plain GROUP BY v"))  # noqa: S608
        return {
            variant: shape_of(
                told,
                y,
                largest=largest[variant] if cap is None else min(largest[variant], cap),
                skewed=formula.kind == "mean",
            )
            for (variant, _), told in kept.items()
        }

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()  # type: ignore[no-any-return]


def _whole(groups: _Groups) -> _Groups:
    """The values of a segment together."""
    whole: _Groups = {}
    for (variant, _), told in groups.items():
        key = (variant, WHOLE)
        whole[key] = added(whole[key], told) if key in whole else told
    return whole


def _above(caps: Sequence[float], rows: int) -> int:
    """How many of so many rows are taken to be above the lowest quantile: too many rather than too few."""
    return min(ceil(2 * (1 - min(*caps, 1.0)) * rows) + _SPARE, rows)


def _centre(mean: float | None, deviation: float | None) -> float:
    """Near the mean, and a whole number where one is near enough, so that counts stay whole."""
    if mean is None or not isfinite(mean):
        return 0.0
    return round(mean) if abs(mean - round(mean)) <= (deviation or 0.0) else mean
