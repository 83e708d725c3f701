"""A folder of products and pictures, read page by page as changes.

`products.jsonl`, `.csv` or `.parquet`; columns recognised by their common
names, or mapped by a `catalogue.toml` beside them:

    file = "abt.csv"          # if it is not called products.*
    delimiter = "|"           # if the header line leaves doubt
    encoding = "latin-1"      # if it is neither UTF-8 nor Windows-1252
    pictures = "photos.zip"   # a folder or a zip, if not in this folder
    [columns]
    product_id = "article"
    images = ["front", "back"]

A row that is no product is reported with its line, and the others go on.
Only ids are kept in memory, to find the ones that come twice.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .catalog_files import SUFFIXES, RawRow, column_names, read_rows, text_encoding
from .columns import Columns, is_ignorable, read_row, recognise
from .errors import InvalidCatalogue, InvalidProduct
from .product import ProductChange

PAGE_SIZE = 500
# All problems are counted; this many are kept in words.
_KEPT_PROBLEMS = 1_000
_TOML_KEYS = {"file": str, "delimiter": str, "encoding": str, "pictures": str, "columns": dict}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A catalogue whose columns are known; made by `open_catalogue`.

    Attributes:
        picture_root: the folder or zip against which picture names resolve.
        remarks: what a person should know about how the file is read.
    """

    file: Path
    columns: Columns
    picture_root: Path
    changed_at: datetime
    delimiter: str | None = None
    encoding: str | None = None
    remarks: tuple[str, ...] = ()

    def pages(self, size: int = PAGE_SIZE, *, report: Report | None = None) -> Iterator[list[ProductChange]]:
        """Yield every product once, as of this snapshot, in the file's order.

        Args:
            size: of a page.
            report: filled on the way; complete after the last page.

        Raises:
            InvalidCatalogue: there is no usable row at all.
        """
        report = Report() if report is None else report
        first_line: dict[str, int] = {}
        page: list[ProductChange] = []
        for raw in read_rows(self.file, delimiter=self.delimiter, encoding=self.encoding):
            report.rows += 1
            change = self._change(raw, first_line, report)
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
                f"{self.file} has no usable product among {report.rows} rows ({worst}); "
                "give at least one row with an id"
            )

    def _change(self, raw: RawRow, first_line: dict[str, int], report: Report) -> ProductChange | None:
        where = f"{self.file.name}, line {raw.line}"
        try:
            change, notices = self._read(raw, first_line)
        except InvalidProduct as error:
            report.add(Problem(line=raw.line, sentence=f"{where}: {error}", dropped=True))
            return None
        first_line[change.product_id] = raw.line
        for notice in notices:
            report.add(Problem(line=raw.line, sentence=f"{where}: {notice}", dropped=False))
        return change

    def _read(self, raw: RawRow, first_line: Mapping[str, int]) -> tuple[ProductChange, tuple[str, ...]]:
        if raw.values is None:
            raise InvalidProduct(raw.problem)
        read = read_row(raw.values, self.columns)
        product_id = read.product.product_id
        if product_id in first_line:
            raise InvalidProduct(
                f"id {product_id!r} came on line {first_line[product_id]} already, must be there once; "
                "the first is kept"
            )
        change = ProductChange(
            product_id=product_id,
            version=read.version or 0,
            occurred_at=read.updated_at or self.changed_at,
            product=read.product,
        )
        return change, read.notices


def open_catalogue(path: Path) -> Catalogue:
    """Find the products of a folder (or of a file, or of a catalogue.toml) and recognise the columns.

    Raises:
        InvalidCatalogue: there is none, or it cannot be read as one.
    """
    if not path.exists():
        raise InvalidCatalogue(
            f"catalogue {str(path)!r} does not exist; give a folder with products{SUFFIXES[0]}"
        )
    folder = path if path.is_dir() else path.parent
    options = _options(path if path.suffix == ".toml" else folder / "catalogue.toml")
    file = path if path.is_file() and path.suffix != ".toml" else _products_file(folder, options.get("file"))
    pictures = folder / options.get("pictures", ".")
    if not pictures.exists():
        raise InvalidCatalogue(
            f"catalogue.toml names pictures {str(pictures)!r}, which is not there; correct it"
        )
    encoding, delimiter = options.get("encoding"), options.get("delimiter")
    remarks = []
    if encoding is None and file.suffix.lower() == ".csv" and text_encoding(file) == "cp1252":
        remarks.append(
            f"{file.name} is not UTF-8; read as Windows-1252. Save it as UTF-8 to be sure of every sign"
        )
    try:
        columns = _recognised(file, options)
    except (LookupError, UnicodeError) as error:
        raise InvalidCatalogue(
            f"{file}: encoding {encoding!r} does not fit ({error}); correct catalogue.toml"
        ) from error
    return Catalogue(
        file=file,
        columns=columns,
        picture_root=pictures,
        changed_at=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        delimiter=delimiter,
        encoding=encoding,
        remarks=tuple(remarks),
    )


def _options(toml: Path) -> dict[str, Any]:
    if not toml.exists():
        return {}
    try:
        options = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidCatalogue(f"{toml} cannot be read: {error}; correct it") from error
    for key, value in options.items():
        if key not in _TOML_KEYS:
            raise InvalidCatalogue(
                f"{toml} has {key!r}, which is no setting; there are: {', '.join(_TOML_KEYS)}"
            )
        if not isinstance(value, _TOML_KEYS[key]):
            raise InvalidCatalogue(f"{toml}: {key} is {value!r}, must be a {_TOML_KEYS[key].__name__}")
    return options


def _products_file(folder: Path, named: str | None) -> Path:
    if named is not None:
        if not (folder / named).is_file():
            raise InvalidCatalogue(
                f"catalogue.toml names file {named!r}, which is not in {folder}; correct it"
            )
        return folder / named
    for suffix in SUFFIXES:
        if (folder / f"products{suffix}").is_file():
            return folder / f"products{suffix}"
    others = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if len(others) == 1:
        return others[0]
    there = f", only {', '.join(file.name for file in others)}" if others else " and no other such file"
    raise InvalidCatalogue(
        f"{folder} has no products{'/'.join(SUFFIXES)}{there}; "
        'name the file in catalogue.toml: file = "..." or give its path'
    )


def _recognised(file: Path, options: Mapping[str, Any]) -> Columns:
    mapping = options.get("columns", {})
    declared = column_names(file, delimiter=options.get("delimiter"), encoding=options.get("encoding"))
    names: dict[str, bool] = dict.fromkeys(declared or [], False)
    if declared is None or file.suffix.lower() == ".parquet":
        # JSON rows name their own columns, and nested values show only in the rows.
        for raw in read_rows(file):
            for name, value in (raw.values or {}).items():
                names[name] = names.get(name, False) or is_ignorable(value)
    if not names:
        raise InvalidCatalogue(f"{file} has no readable row; write one JSON object per line")
    return recognise(names, mapping=mapping, ignored=[name for name, useless in names.items() if useless])
