"""Many small files of the archive into one per kind and day, every row kept once.

Only files whose offsets the archive's marks have passed are taken: what lies
after a mark was cut off, and the archiver will remove it. In this order:

1. write the rows beside their place, with the names of the files they are from;
2. move the new file into place: from now on those names are history;
3. remove them. A start after a kill between 2 and 3 removes what is left of them.

A reader between 2 and 3 may meet a row twice; its event id tells.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from .archive_files import FROM, JOINED, STEMS, beside, only_one, settle, told_by
from .archive_marks import KINDS, mark_file, read_mark, stretch_of

log = structlog.get_logger()

# Larger files are read well as they are; a joined file stays below this in sum.
JOINED_BYTES = 128 * 2**20


@dataclass(slots=True)
class Compacted:
    """What a run has done."""

    files_before: int = 0
    files_after: int = 0
    rows: int = 0


def compact(folder: Path, *, keep_day: str) -> Compacted:
    """Join the small files of every day but `keep_day`, which still grows.

    Raises:
        ArchiveError: an archiver is writing to the folder.
    """
    totals = Compacted()
    with only_one(folder):
        for kind in KINDS:
            for day in sorted((folder / kind).glob("day=*")):
                finish(day)
                totals.files_before += len(_files(day))
                if day.name != f"day={keep_day}":
                    for group in _groups(_passed(folder, kind, day)):
                        totals.rows += _join(group)
                totals.files_after += len(_files(day))
    log.info(
        "compacted",
        files_before=totals.files_before,
        files_after=totals.files_after,
        rows=totals.rows,
    )
    return totals


def finish(day: Path) -> None:
    """Remove the files that a joined one in place holds already."""
    for joined in list(day.glob(f"{JOINED}*.parquet")):
        if joined.exists():  # not one that a later one holds
            for name in told_by(joined)[FROM]:
                (day / name).unlink(missing_ok=True)


def finish_all(folder: Path) -> None:
    """Finish what a kill has cut off, in every day; the caller is the only one who writes."""
    for kind in KINDS:
        for day in (folder / kind).glob("day=*"):
            finish(day)


def _files(day: Path) -> list[Path]:
    return sorted(file for file in day.glob("*.parquet") if not file.name.startswith("."))


def _passed(folder: Path, kind: str, day: Path) -> Iterator[Path]:
    """The files of chunks that count, oldest names first."""
    marks: dict[str, int] = {}
    for file in _files(day):
        if file.name.startswith(JOINED):
            yield file
        elif (stretch := stretch_of(file)) is not None:
            if stretch.stem not in marks:
                marks[stretch.stem] = read_mark(mark_file(folder, kind, stretch.stem)) or 0
            if stretch.last < marks[stretch.stem]:
                yield file


def _groups(files: Iterator[Path]) -> Iterator[list[Path]]:
    """Files that are worth joining, together below the limit."""
    group: list[Path] = []
    held = 0
    for file in files:
        size = file.stat().st_size
        if held + size > JOINED_BYTES:
            if len(group) > 1:
                yield group
            group, held = [], 0
        group.append(file)
        held += size
    if len(group) > 1:
        yield group


def _join(files: Sequence[Path]) -> int:
    """One file instead of these; returns how many rows it holds."""
    import pyarrow as pa  # heavy: loaded when there is something to join
    import pyarrow.parquet as pq

    names = [file.name for file in files]
    stems = {stem for file in files for stem in _stems(file)}
    # Files of an earlier release lack what exposures have learnt to say since: null there.
    table = pa.concat_tables([pq.ParquetFile(file).read() for file in files], promote_options="default")
    told = {FROM: json.dumps(names), STEMS: json.dumps(sorted(stems))}
    table = table.replace_schema_metadata(told)
    name = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    target = files[0].with_name(f"{JOINED}{name}.parquet")
    written = beside(target)
    pq.write_table(table, written, compression="zstd")
    settle(written)
    os.replace(written, target)
    finish(target.parent)
    rows: int = table.num_rows
    return rows


def _stems(file: Path) -> Sequence[str]:
    if file.name.startswith(JOINED):
        return told_by(file)[STEMS]
    stretch = stretch_of(file)
    return [] if stretch is None else [stretch.stem]
