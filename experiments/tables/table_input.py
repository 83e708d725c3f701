"""The door for tables: a file or a data frame (through Narwhals) becomes a view `cell` of clean columns.

The view `plain` beside it has the same columns as they stand, for whoever minds odd numbers himself.

v is the variant and u the unit as text, s0.. the segments, n0.. the numbers as
doubles. Empty, NaN and NA are no value; any other text where a number must be
is refused with its row, and so is infinity.
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InvalidData
from experiments.warehouse import DatabaseError

MISSING_WORDS = ("", "nan", "na", "n/a", "null", "none", "nat", "<na>", "-nan")

_NUMERIC = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "BOOLEAN",
    "U",
)


def open_table(
    connection: Any,
    source: Path | object,
    *,
    variant: str | None,
    unit: str | None,
    segments: Sequence[str],
    numbers: Sequence[str],
    buckets: int = 0,
    infinity_later: bool = False,
) -> None:
    """Make the view `cell`, or the table where the source is text.

    Without a variant, v is one of `buckets`, by the unit's hash or else the row's. With
    `infinity_later`, whoever reads the columns anyway looks for it, and calls `refuse_infinity`.
    """
    relation, is_text = _relation(connection, source)
    name = source.name if isinstance(source, Path) else "the table"
    for column in (*([variant] if variant else []), *([unit] if unit else []), *segments, *numbers):
        if column not in relation.columns:
            raise InvalidData(f"{name} has no column {column!r}; it has {', '.join(relation.columns)}")
    relation.create_view("given")
    types = dict(zip(relation.columns, (str(kind) for kind in relation.types), strict=True))
    wrongs = {
        column: wrong
        for column in numbers
        if (wrong := _wrong(column, types[column])) and not (infinity_later and _is_numeric(types[column]))
    }
    # One pass tells whether any cell is wrong; which one is looked for only then.
    if (
        wrongs
        and connection.execute(
            f"SELECT bool_or({' OR '.join(wrongs.values())}) FROM given"  # noqa: S608
        ).fetchone()[0]
    ):
        for column, wrong in wrongs.items():
            _refuse_what_is_no_number(connection, name, column, wrong)
    if unit:
        (nameless,) = connection.execute(f"SELECT count(*) FROM given WHERE {_text(unit)} IS NULL").fetchone()  # noqa: S608
        if nameless:
            raise InvalidData(
                f"{name}: {nameless:,} rows have no {unit!r}; a row without a unit cannot be counted"
            )
    hashed = _text(unit) if unit else "CAST(row_number() OVER () AS VARCHAR)"
    label = _text(variant) if variant else f"CAST(md5_number_lower({hashed}) % {buckets} AS VARCHAR)"
    columns = [f"{label} AS v", f"{_text(unit) if unit else 'NULL'} AS u"]
    columns += [f"coalesce({_text(column)}, '(none)') AS s{i}" for i, column in enumerate(segments)]
    columns += [f"{_number(column, types[column])} AS n{i}" for i, column in enumerate(numbers)]
    # Text is read once and kept; Parquet is columns already.
    kind = "TABLE" if is_text or not variant else "VIEW"
    connection.execute(f"CREATE TEMP {kind} cell AS SELECT {', '.join(columns)} FROM given")  # noqa: S608
    if kind == "TABLE":
        connection.execute("CREATE TEMP VIEW plain AS SELECT * FROM cell")
    elif variant:
        columns[0] = f"{quoted(variant) if types[variant] == 'VARCHAR' else label} AS v"
        columns[-len(numbers) :] = [f"{_plain(it, types[it])} AS n{i}" for i, it in enumerate(numbers)]
        connection.execute(f"CREATE TEMP VIEW plain AS SELECT {', '.join(columns)} FROM given")  # noqa: S608


def refuse_infinity(connection: Any, source: Path | object, column: str) -> None:
    """Name the row of an infinity, if there is one."""
    name = source.name if isinstance(source, Path) else "the table"
    given = connection.table("given")
    kind = dict(zip(given.columns, map(str, given.types), strict=True))[column]
    _refuse_what_is_no_number(connection, name, column, _wrong(column, kind))


def quoted(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def _relation(connection: Any, source: Path | object) -> tuple[Any, bool]:
    if not isinstance(source, Path):
        connection.register("frame", _arrow(source))
        return connection.table("frame"), False
    if not source.is_file():
        raise InvalidData(f"{source} is not a file; give a CSV or Parquet file")
    size = source.stat().st_size
    if not size:
        raise InvalidData(f"{source} has 0 bytes; write it again")
    with source.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1" or source.suffix in (".parquet", ".pq")
    try:
        if is_parquet:
            connection.execute("SET parquet_metadata_cache = true")  # it is read a few times
            return connection.read_parquet(str(source)), False
        return connection.read_csv(
            str(source), header=True, all_varchar=True, delimiter=_delimiter(source), quotechar='"'
        ), True
    except DatabaseError as error:
        kind = "Parquet" if is_parquet else "CSV"
        told = str(error).partition("The search space")[0].splitlines()[:3]
        said = " ".join(line.strip() for line in told if line.strip())
        hint = "" if is_parquet else "; it must be UTF-8, with as many fields in each row as in the header"
        raise InvalidData(f"{source} ({size:,} bytes) is not readable {kind}: {said}{hint}") from error


def _arrow(frame: object) -> Any:
    """Any frame that Narwhals knows (pandas, Polars, Arrow, DuckDB, Spark, ...) as an Arrow table."""
    import narwhals as nw  # only for frames

    try:
        known = nw.from_native(frame, pass_through=False)  # type: ignore[call-overload]
        collected = known.collect(backend="pyarrow") if isinstance(known, nw.LazyFrame) else known
        return collected.to_arrow()
    except Exception as error:  # a frame of any library may fail in its own way
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        raise InvalidData(f"a {kind} cannot be read as a table: {error}") from error


def _delimiter(source: Path) -> str:
    """What stands between the names in the header: a comma, semicolon, tab or bar."""
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(source, "rb") if packed else source.open("rb") as file:
        header = file.readline(1_000_000).decode("utf-8", errors="replace")
    widths = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in ",;\t|"}
    return max(widths, key=lambda mark: widths[mark])


def _wrong(column: str, kind: str) -> str:
    """The condition under which a cell is no finite number; empty where none can be."""
    if _is_numeric(kind) and kind not in ("FLOAT", "DOUBLE"):
        return ""
    value = _number(column, kind)
    wrong = f"coalesce(isinf({value}), false)"
    if not _is_numeric(kind):
        text = f"trim(CAST({quoted(column)} AS VARCHAR))"
        wrong += f" OR coalesce({value} IS NULL AND lower({text}) NOT IN {MISSING_WORDS}, false)"
    return f"({wrong})"


def _refuse_what_is_no_number(connection: Any, name: str, column: str, wrong: str) -> None:
    cell = quoted(column)
    if not connection.execute(f"SELECT 1 FROM given WHERE {wrong} LIMIT 1").fetchone():  # noqa: S608
        return
    shown, row = connection.execute(
        f"SELECT CAST({cell} AS VARCHAR), row FROM (SELECT row_number() OVER () AS row, * FROM given)"  # noqa: S608
        f" WHERE {wrong} ORDER BY row LIMIT 1"
    ).fetchone()
    hint = "; a decimal comma must be a point" if "," in shown and "." not in shown else ""
    raise InvalidData(f"{name}, row {row}: {column!r} is {shown!r}, must be a finite number{hint}")


def _number(column: str, kind: str) -> str:
    cell = quoted(column)
    if kind in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN NOT isnan({cell}) THEN CAST({cell} AS DOUBLE) END"
    if _is_numeric(kind):
        return f"CAST({cell} AS DOUBLE)"
    text = f"lower(trim(CAST({cell} AS VARCHAR)))"
    return (
        f"CASE WHEN {text} IN {MISSING_WORDS} THEN NULL WHEN {text} = 'true' THEN 1.0"
        f" WHEN {text} = 'false' THEN 0.0 ELSE TRY_CAST({text} AS DOUBLE) END"
    )


def _plain(column: str, kind: str) -> str:
    """As it is, a NaN too; whole numbers stay whole."""
    if kind in ("TINYINT", "SMALLINT", "INTEGER"):
        return f"CAST({quoted(column)} AS INTEGER)"
    if kind == "BIGINT":
        return quoted(column)
    return f"CAST({quoted(column)} AS DOUBLE)" if _is_numeric(kind) else _number(column, kind)


def _is_numeric(kind: str) -> bool:
    return kind.startswith(_NUMERIC) and not kind.startswith(("UUID", "UNION")) and "[" not in kind


def _text(column: str) -> str:
    return f"nullif(CAST({quoted(column)} AS VARCHAR), '')"
