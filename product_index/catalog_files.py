"""Rows out of a JSON Lines, CSV or Parquet file, one at a time, with where they stood.

A row that cannot be read comes out as the sentence that says so; the rows
after it go on. Nothing here knows what a column means.
"""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from .errors import InvalidCatalogue

SUFFIXES = (".jsonl", ".csv", ".parquet")
_DELIMITERS = ",;\t|"
_PARQUET_BATCH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row of a source: its values, or why it has none.

    Attributes:
        line: the line it begins on; for Parquet and tables the row, from 1.
    """

    line: int
    values: Mapping[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """The rows of one file, as of when it was opened."""

    file: Path
    delimiter: str | None = None
    encoding: str | None = None
    _written_ns: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_written_ns", self.file.stat().st_mtime_ns)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.file)

    @property
    def unit(self) -> str:
        """Files are counted in lines."""
        return "line"

    def rows(self) -> Iterator[RawRow]:
        """Every row, in the file's order."""
        return read_rows(self.file, delimiter=self.delimiter, encoding=self.encoding)

    def written_at(self) -> datetime:
        """When the file was last written, as of opening it."""
        return datetime.fromtimestamp(self._written_ns / 1e9, UTC)

    def unchanged(self) -> bool:
        """Whether nobody has written the file since it was opened."""
        return self.file.is_file() and self.file.stat().st_mtime_ns == self._written_ns


def read_rows(path: Path, *, delimiter: str | None = None, encoding: str | None = None) -> Iterator[RawRow]:
    """Read a file by its suffix.

    Raises:
        InvalidCatalogue: the file as a whole cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix in {".csv", ".tsv", ".txt"}:
        return _read_csv(path, delimiter=delimiter, encoding=encoding or text_encoding(path))
    if suffix in {".jsonl", ".ndjson", ".json"}:
        return _read_jsonl(path)
    raise InvalidCatalogue(f"{path}: {suffix or 'no suffix'} is not read; give one of {', '.join(SUFFIXES)}")


def column_names(
    path: Path, *, delimiter: str | None = None, encoding: str | None = None
) -> list[str] | None:
    """Return the columns that the file declares; None where every row names its own (JSON Lines)."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return [str(name) for name in _parquet(path).schema_arrow.names]
    if suffix in {".csv", ".tsv", ".txt"}:
        encoding = encoding or text_encoding(path)
        with path.open(encoding=encoding, newline="") as stream:
            return _header(path, next(csv.reader(stream, delimiter=delimiter or sniff(path, encoding)), []))
    return None


def text_encoding(path: Path) -> str:
    """UTF-8 if the file is that (with or without a mark), UTF-16 by its mark, else Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as stream:
        start = stream.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        stream.seek(0)
        try:
            while chunk := stream.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def sniff(path: Path, encoding: str) -> str:
    """Return the delimiter that the header line has most of, outside quotes."""
    with path.open(encoding=encoding, newline="", errors="replace") as stream:
        header = stream.readline(1 << 16)
    outside = "".join(header.split('"')[::2])
    return max(_DELIMITERS, key=outside.count)


def _header(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if not any(names):
        raise InvalidCatalogue(f"{path}: the first line is empty, must name the columns")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InvalidCatalogue(f"{path}: column {twice[0]!r} is there twice; give each column its own name")
    return [name or f"column {place}" for place, name in enumerate(names, 1)]


def _read_csv(path: Path, *, delimiter: str | None, encoding: str) -> Iterator[RawRow]:
    with path.open(encoding=encoding, newline="", errors="replace") as stream:
        reader = csv.reader(stream, delimiter=delimiter or sniff(path, encoding))
        names = _header(path, next(reader, []))
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield RawRow(line=line, problem=f"{error}; check its quotes")
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                problem = (
                    f"it has {len(cells)} cells, the header has {len(names)}; check its quotes and delimiters"
                )
                yield RawRow(line=line, problem=problem)
                continue
            yield RawRow(line=line, values=dict(zip(names, cells, strict=True)))


def _read_jsonl(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:  # bad UTF-8 too
                yield RawRow(line=number, problem=f"it is not JSON ({error}); write one JSON object per line")
                continue
            if not isinstance(values, dict):
                kind = type(values).__name__
                yield RawRow(
                    line=number, problem=f"it is a JSON {kind}, must be an object; write one per line"
                )
                continue
            yield RawRow(line=number, values=values)


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        return pq.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise InvalidCatalogue(f"{path} cannot be read as Parquet: {error}; write it again") from error


def _read_parquet(path: Path) -> Iterator[RawRow]:
    number = 0
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
            for values in batch.to_pylist():
                number += 1
                yield RawRow(line=number, values={name: _plain_time(value) for name, value in values.items()})


def _plain_time(value: object) -> object:
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value
