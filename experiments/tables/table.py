"""A table of units, or of rows per unit, to moments per variant: CSV, Parquet or a data frame.

One row per unit, unless a unit column says which rows are one unit's. What is
left out is counted; text where a number must be is refused, with its row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isinf
from pathlib import Path
from typing import Any

from experiments.errors import InvalidData
from experiments.metrics import Moments, Shape
from experiments.warehouse import connect

from .clean_scan import scan_clean
from .formula import Formula
from .quantiles import quantiles
from .scanned import MOST_SEGMENTS, MOST_VARIANTS, WHOLE, TableScan
from .table_input import open_table, refuse_infinity
from .table_moments import Wanted, guess_centres, letters_of, moments_in_one_pass


def scan_table(
    source: Path | object,
    *,
    variant: str,
    formulas: Sequence[Formula],
    unit: str | None = None,
    segments: Sequence[str] = (),
) -> TableScan:
    """Read a table and keep what it adds up to.

    Args:
        source: a CSV or Parquet file, or a data frame that DuckDB can read (Arrow, pandas, Polars).
        variant: the column of the variant.
        formulas: the metrics.
        unit: the column of the unit, where a unit has several rows.
        segments: columns to cut by; known of the unit before it was served.

    Raises:
        InvalidData: the file cannot be read, lacks a column, or has text where a number must be.
    """
    numbers = tuple(dict.fromkeys(column for formula in formulas for column in formula.columns))
    with connect("the table") as connection:
        open_table(
            connection,
            source,
            variant=variant,
            unit=unit,
            segments=segments,
            numbers=numbers,
            infinity_later=True,
        )
        clean = scan_clean(connection, formulas, numbers, segments) if unit is None else None
        if clean is not None:
            return clean
        scan = _Scan(connection, formulas, unit, tuple(segments), numbers)
        try:
            return scan.scan()
        except _Infinite as found:
            refuse_infinity(connection, source, found.column)
            raise


def scan_buckets(
    source: Path | object, *, formulas: Sequence[Formula], unit: str | None, buckets: int
) -> dict[str, list[Moments]]:
    """The moments of each metric in each of some buckets, into which units fall by hash."""
    numbers = tuple(dict.fromkeys(column for formula in formulas for column in formula.columns))
    with connect("the table") as connection:
        open_table(connection, source, variant=None, unit=unit, segments=(), numbers=numbers, buckets=buckets)
        found = _Scan(connection, formulas, unit, (), numbers).scan(most_variants=buckets)
    return {it.name: list(found.moments[it.name, WHOLE, WHOLE].values()) for it in formulas}


class _Infinite(Exception):
    """A column holds an infinity."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


class _Scan:
    """The columns of `cell` are v, u, s0.. and n0..: no name of the table's own is in a query."""

    def __init__(
        self,
        connection: Any,
        formulas: Sequence[Formula],
        unit: str | None,
        segments: tuple[str, ...],
        numbers: tuple[str, ...],
    ) -> None:
        self._connection = connection
        self._formulas = formulas
        self._unit = unit
        self._segments = segments
        self._numbers = numbers

    def scan(self, *, most_variants: int = MOST_VARIANTS) -> TableScan:
        """Everything, whole and by segment."""
        per_variant, missing = self._count_rows()
        rows, unlabelled = sum(per_variant.values()), per_variant.pop(None, 0)
        if not rows:
            raise InvalidData("the table has a header and no rows")
        if rows == unlabelled:
            raise InvalidData(f"no row of {rows} has a variant; is it the right column?")
        self._check_proportions()
        # A quantile has no sum to show it.
        self._refuse_infinity([it.column for it in self._formulas if it.kind == "quantile"])
        crossed = self._gather_units()
        units = (
            dict(self._rows("SELECT v, count(*) FROM unit_row GROUP BY v ORDER BY v"))
            if self._unit is not None
            else {name: count for name, count in per_variant.items() if name is not None}
        )
        if not units:
            raise InvalidData(
                f"all {crossed:,} units are in two variants; is {self._unit!r} the right column?"
            )
        if len(units) > most_variants:
            raise InvalidData(
                f"{len(units)} variants, from {min(units)!r} to {max(units)!r}; at most {most_variants}:"
                " is it the right column?"
            )
        caps = {
            formula.name: value for formula in self._formulas if (value := self._cap(formula)) is not None
        }
        means = self._means(missing)
        plain = [formula for formula in self._formulas if formula.kind != "quantile"]
        centres = guess_centres(self._rows, [f"n{place}" for place in range(len(self._numbers))])
        moments: dict[tuple[str, str, str], dict[str, Moments]] = {}
        raw: dict[tuple[str, str, str], dict[str, Moments]] = {}
        shapes: dict[str, dict[str, Shape]] = {}
        wanted = [self._wanted(formula, caps, means, missing, centres) for formula in plain]
        uncapped = [
            self._wanted(formula, {}, means, missing, centres) for formula in plain if formula.name in caps
        ]
        for segment in (WHOLE, *self._segments) if wanted else ():
            self._add_moments(segment, wanted, uncapped, moments, raw, shapes)
        return TableScan(
            units=units,
            rows=rows,
            unlabelled_rows=unlabelled,
            crossed_units=crossed,
            missing=missing,
            caps=caps,
            moments=moments,
            raw=raw,
            shapes=shapes,
            quantiles={
                it.name: quantiles(
                    self._connection, self._cell(it.column), it.quantile, by_unit=self._unit is not None
                )
                for it in self._formulas
                if it.quantile is not None
            },
        )

    def _count_rows(self) -> tuple[dict[str | None, int], dict[str, dict[str, int]]]:
        """Rows by variant, None for those without; and those without a value, by column and variant."""
        counts = "".join(f", count(*) - count({self._cell(column)})" for column in self._numbers)
        rows: dict[str | None, int] = {}
        missing: dict[str, dict[str, int]] = {}
        for variant, count, *numbers in self._rows(
            f"SELECT v, count(*){counts} FROM cell GROUP BY v ORDER BY v"  # noqa: S608
        ):
            rows[variant] = count
            for column, lacking in zip(self._numbers, numbers, strict=True):
                if lacking and variant is not None:
                    missing.setdefault(column, {})[variant] = lacking
        return rows, missing

    def _refuse_infinity(self, columns: Sequence[str]) -> None:
        """Asked of the largest and the smallest of each column."""
        if not columns:
            return
        ends = ", ".join(f"max({self._cell(it)}), min({self._cell(it)})" for it in columns)
        found = self._rows(f"SELECT {ends} FROM cell")[0]  # noqa: S608 - n0.. only
        for place, column in enumerate(columns):
            if any(end is not None and isinf(end) for end in found[2 * place : 2 * place + 2]):
                raise _Infinite(column)

    def _check_proportions(self) -> None:
        for formula in self._formulas:
            if formula.kind != "proportion":
                continue
            cell = self._cell(formula.column)
            odd = self._rows(f"SELECT {cell} FROM cell WHERE {cell} NOT IN (0, 1) LIMIT 1")  # noqa: S608
            if odd:
                raise InvalidData(
                    f"metric {formula.name!r}: {formula.column!r} has {odd[0][0]:g}; a proportion"
                    f" needs 0 or 1, for other numbers write mean({formula.column})"
                )

    def _gather_units(self) -> int:
        """The table `unit_row`, one row per unit; how many units were in two variants."""
        if self._unit is None:
            self._run("CREATE TEMP VIEW unit_row AS SELECT * FROM cell WHERE v IS NOT NULL")
            return 0
        self._refuse_changing_covariates()
        flags = {formula.column for formula in self._formulas if formula.kind == "proportion"}
        fixed = {column for formula in self._formulas for column in formula.covariate}
        parts = ["min(v) AS v", "min(v) <> max(v) AS crossed"]
        for number, column in enumerate(self._numbers):
            how = "any_value" if column in fixed else "max" if column in flags else "sum"
            parts.append(f"{how}(n{number}) AS n{number}")
        for number in range(len(self._segments)):
            several = f"CASE WHEN min(s{number}) <> max(s{number}) THEN '(several)' ELSE min(s{number}) END"
            parts.append(f"{several} AS s{number}")
        self._run(
            f"CREATE TEMP TABLE gathered AS SELECT {', '.join(parts)} FROM cell"  # noqa: S608
            " WHERE v IS NOT NULL GROUP BY u"
        )
        self._run("CREATE TEMP VIEW unit_row AS SELECT * FROM gathered WHERE NOT crossed")
        return int(self._rows("SELECT count(*) FROM gathered WHERE crossed")[0][0])

    def _refuse_changing_covariates(self) -> None:
        for column in dict.fromkeys(column for formula in self._formulas for column in formula.covariate):
            cell = self._cell(column)
            changed = self._rows(
                f"SELECT u, min({cell}), max({cell}) FROM cell WHERE v IS NOT NULL GROUP BY u"  # noqa: S608
                f" HAVING min({cell}) <> max({cell}) ORDER BY u LIMIT 1"
            )
            if changed:
                name, low, high = changed[0]
                raise InvalidData(
                    f"covariate {column!r} of unit {name!r} is {low:g} in one row and {high:g} in another;"
                    " it is known before the experiment, so a unit has one"
                )
            self._refuse_shared_column(column)

    def _refuse_shared_column(self, column: str) -> None:
        for formula in self._formulas:
            if column in (formula.column, formula.below):
                raise InvalidData(f"{column!r} is both a covariate and a metric's own column; it can be one")

    def _cap(self, formula: Formula) -> float | None:
        """One value for all variants: as declared, or a quantile of the units that have any."""
        if formula.cap is None or formula.cap >= 1:
            return formula.cap
        cell = self._cell(formula.column)
        found = self._rows(
            f"SELECT quantile_cont({cell}, {formula.cap!r}) FROM unit_row WHERE {cell} > 0"  # noqa: S608
        )[0][0]
        return None if found is None else float(found)

    def _means(self, missing: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
        """Of each covariate that some rows lack: its mean, which then moves nobody."""
        wanted = [column for formula in self._formulas for column in formula.covariate if column in missing]
        return {
            column: float(self._rows(f"SELECT coalesce(avg({self._cell(column)}), 0) FROM unit_row")[0][0])  # noqa: S608
            for column in dict.fromkeys(wanted)
        }

    def _wanted(
        self,
        formula: Formula,
        caps: Mapping[str, float],
        means: Mapping[str, float],
        missing: Mapping[str, Mapping[str, int]],
        centres: Mapping[str, float],
    ) -> Wanted:
        outcomes = formula.columns[: 2 if formula.below else 1]
        return Wanted(
            formula=formula,
            letters=letters_of(formula),
            cells=tuple(self._value(formula, column, caps, means) for column in formula.columns),
            centres=tuple(centres[self._cell(column)] for column in formula.columns),
            condition=" AND ".join(f"{self._cell(it)} IS NOT NULL" for it in outcomes)
            if any(it in missing for it in outcomes)
            else "",
        )

    def _add_moments(
        self,
        segment: str,
        wanted: Sequence[Wanted],
        uncapped: Sequence[Wanted],
        moments: dict[tuple[str, str, str], dict[str, Moments]],
        raw: dict[tuple[str, str, str], dict[str, Moments]],
        shapes: dict[str, dict[str, Shape]],
    ) -> None:
        """One query for all metrics: counts, means and co-moments by variant (and segment)."""
        cut = f"s{self._segments.index(segment)}" if segment else f"'{WHOLE}'"
        found = moments_in_one_pass(
            self._rows,
            [*wanted, *uncapped],
            cut,
            refuse_infinity=lambda: self._refuse_infinity(self._numbers),
        )
        if len({value for _, value, _ in found}) > MOST_SEGMENTS:
            raise InvalidData(f"segment {segment!r} has over {MOST_SEGMENTS} values; is it the right column?")
        for variant, value, metrics in found:
            for place, (it, (of_variant, shape)) in enumerate(
                zip([*wanted, *uncapped], metrics, strict=True)
            ):
                name = it.formula.name
                target = moments if place < len(wanted) else raw
                target.setdefault((name, segment, value), {})[variant] = of_variant
                if place < len(wanted) and not segment and of_variant.count:
                    shapes.setdefault(name, {})[variant] = (
                        shape if it.formula.kind == "mean" else replace(shape, skewness=None)
                    )

    def _value(
        self, formula: Formula, column: str, caps: Mapping[str, float], means: Mapping[str, float]
    ) -> str:
        cell = self._cell(column)
        if column == formula.column and formula.name in caps:
            return f"CASE WHEN {cell} > {caps[formula.name]!r} THEN {caps[formula.name]!r} ELSE {cell} END"
        if column in formula.covariate and column in means:
            return f"coalesce({cell}, {means[column]!r})"
        return cell

    def _cell(self, column: str) -> str:
        return f"n{self._numbers.index(column)}"

    def _run(self, query: str) -> Any:
        return self._connection.execute(query)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()  # type: ignore[no-any-return]
