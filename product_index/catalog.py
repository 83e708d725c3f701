"""A catalogue of products, read page by page as changes: a folder, a file, or a table of a database.

`products.jsonl`, `.csv` or `.parquet`, or `postgresql+psycopg://host/shop#products`;
columns recognised by their common names, or mapped by hand (see `catalog_place`).

A row that is no product is reported with its place, and the others go on.
Only ids are kept in memory, to find the ones that come twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from .catalog_files import FileSource, RawRow, column_names, text_encoding
from .catalog_place import find, products_file
from .cells import Notice
from .columns import Columns, is_ignorable, read_row, recognise
from .errors import InvalidCatalogue, InvalidProduct
from .product import ProductChange

PAGE_SIZE = 500
# All problems are counted; this many are kept in words.
_KEPT_PROBLEMS = 1_000
# A column that cannot be read in most rows is not dirt: its type or its meaning changed.
_MOSTLY = 0.5
# In fewer rows than this, most says nothing.
_ENOUGH_ROWS = 20


class Source(Protocol):
    """Where the rows of a catalogue come from."""

    @property
    def name(self) -> str:
        """What a person calls it; never with a password."""
        ...

    @property
    def unit(self) -> str:
        """What a row's number counts: lines or rows."""
        ...

    def rows(self) -> Iterator[RawRow]:
        """Every row, of one moment, in an order that does not change."""
        ...

    def unchanged(self) -> bool:
        """Whether what was read is still of the moment it was opened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One sentence about one row; `dropped` tells whether the row is missing because of it."""

    line: int
    sentence: str
    dropped: bool


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of the rows; filled while pages are read."""

    rows: int = 0
    usable: int = 0
    bad: int = 0
    noticed: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it in words while there is room."""
        if problem.dropped:
            self.bad += 1
        else:
            self.noticed += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(problem)


@dataclass(slots=True)
class _SoFar:
    """What is remembered while rows are read: where each id came first, what could not be used."""

    first_line: dict[str, int] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)
    first_unread: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A catalogue whose columns are known; made by `open_catalogue`.

    Attributes:
        picture_root: the folder or zip against which picture names resolve; None for a database.
        changed_at: the time of rows that tell none.
        remarks: what a person should know about how it is read.
    """

    source: Source
    columns: Columns
    picture_root: Path | None
    changed_at: datetime
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a person calls it; never with a password."""
        return self.source.name

    def pages(self, size: int = PAGE_SIZE, *, report: Report | None = None) -> Iterator[list[ProductChange]]:
        """Yield every product once, as of this snapshot, in the source's order.

        Args:
            size: of a page.
            report: filled on the way; complete after the last page.

        Raises:
            InvalidCatalogue: there is no usable row at all, or a column is not what it was.
            CatalogueUnavailable: the database did not answer.
        """
        report = Report() if report is None else report
        so_far = _SoFar()
        page: list[ProductChange] = []
        for raw in self.source.rows():
            report.rows += 1
            change = self._change(raw, so_far, report)
            if change is None:
                continue
            report.usable += 1
            page.append(change)
            if len(page) == size:
                yield page
                page = []
        if page:
            yield page
        if not report.usable:
            worst = report.problems[0].sentence if report.problems else "it has no rows"
            raise InvalidCatalogue(
                f"{self.name} has no usable product among {report.rows} rows ({worst}); "
                "give at least one row with an id"
            )
        self._check_columns(so_far, report)

    def _check_columns(self, so_far: "_SoFar", report: Report) -> None:
        for target, count in so_far.unread.items():
            if report.usable >= _ENOUGH_ROWS and count > _MOSTLY * report.usable:
                raise InvalidCatalogue(
                    f"{self.name}: column {self.columns.fields.get(target)!r} cannot be read as {target} in "
                    f"{count} of {report.usable} rows (first: {so_far.first_unread[target]}); mend "
                    "its values, or map another column in catalogue.toml"
                )

    def _change(self, raw: RawRow, so_far: "_SoFar", report: Report) -> ProductChange | None:
        where = f"{self.name.rsplit('/', 1)[-1]}, {self.source.unit} {raw.line}"
        try:
            change, notices = self._read(raw, so_far.first_line)
        except InvalidProduct as error:
            report.add(Problem(line=raw.line, sentence=f"{where}: {error}", dropped=True))
            return None
        so_far.first_line[change.product_id] = raw.line
        for notice in notices:
            so_far.unread[notice.target] += 1
            so_far.first_unread.setdefault(notice.target, f"{where}: {notice.sentence}")
            report.add(Problem(line=raw.line, sentence=f"{where}: {notice.sentence}", dropped=False))
        return change

    def _read(self, raw: RawRow, first_line: Mapping[str, int]) -> tuple[ProductChange, tuple[Notice, ...]]:
        if raw.values is None:
            raise InvalidProduct(raw.problem)
        read = read_row(raw.values, self.columns)
        product_id = read.product.product_id
        if product_id in first_line:
            raise InvalidProduct(
                f"id {product_id!r} came on {self.source.unit} {first_line[product_id]} already, "
                "must be there once; the first is kept"
            )
        change = ProductChange(
            product_id=product_id,
            version=read.version or 0,
            occurred_at=read.updated_at or self.changed_at,
            product=read.product,
        )
        return change, read.notices


def open_catalogue(place: Path | str) -> Catalogue:
    """Find the products of a folder, a file, a catalogue.toml or a database's URL; recognise the columns.

    Raises:
        InvalidCatalogue: there is none, or it cannot be read as one.
        CatalogueUnavailable: the database did not answer.
    """
    found = find(place)
    if found.url is not None:
        return _open_database(found.url, found.options, picture_root=found.pictures)
    return _open_file(products_file(found), found.options, found.pictures)


def picture_root(place: Path | str) -> Path | None:
    """Where a catalogue's pictures are, without opening it; None for a database's URL alone.

    Raises:
        InvalidCatalogue: there is no such catalogue, or no such place.
    """
    return find(place).pictures


def _open_database(url: str, options: Mapping[str, Any], *, picture_root: Path | None) -> Catalogue:
    try:
        from .catalog_sql import open_table  # heavy: load only when chosen
    except ModuleNotFoundError:
        raise InvalidCatalogue(
            "a database as catalogue needs SQLAlchemy; install the extra uniecs-online[sql]"
        ) from None
    opened = open_table(
        url, table=options.get("table"), key=options.get("key"), mapping=options.get("columns", {})
    )
    return Catalogue(
        source=opened.source,
        columns=opened.columns,
        picture_root=picture_root,
        changed_at=opened.at,
        remarks=opened.remarks,
    )


def _open_file(file: Path, options: Mapping[str, Any], pictures: Path | None) -> Catalogue:
    encoding = options.get("encoding")
    remarks = []
    if encoding is None and file.suffix.lower() == ".csv" and text_encoding(file) == "cp1252":
        remarks.append(
            f"{file.name} is not UTF-8; read as Windows-1252. Save it as UTF-8 to be sure of every sign"
        )
    source = FileSource(file=file, delimiter=options.get("delimiter"), encoding=encoding)
    try:
        columns = _recognised(source, options)
    except (LookupError, UnicodeError) as error:
        raise InvalidCatalogue(
            f"{file}: encoding {encoding!r} does not fit ({error}); correct catalogue.toml"
        ) from error
    return Catalogue(
        source=source,
        columns=columns,
        picture_root=pictures,
        changed_at=source.written_at(),
        remarks=tuple(remarks),
    )


def _recognised(source: FileSource, options: Mapping[str, Any]) -> Columns:
    file = source.file
    declared = column_names(file, delimiter=source.delimiter, encoding=source.encoding)
    names: dict[str, bool] = dict.fromkeys(declared or [], False)
    if declared is None or file.suffix.lower() == ".parquet":
        # JSON rows name their own columns, and nested values show only in the rows.
        for raw in source.rows():
            for name, value in (raw.values or {}).items():
                names[name] = names.get(name, False) or is_ignorable(value)
    if not names:
        raise InvalidCatalogue(f"{file} has no readable row; write one JSON object per line")
    ignored = [name for name, useless in names.items() if useless]
    return recognise(names, mapping=options.get("columns", {}), ignored=ignored)
