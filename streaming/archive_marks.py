"""Which stretches of which parts the archive holds: the names of its files, and the marks beside them.

    exposures/day=2026-01-15/STEM-FIRST-LAST.parquet    rows of these positions
    unreadable/exposures/STEM-FIRST-LAST.jsonl          events among them that make no sense
    _offsets/exposures-STEM.json                        how far the part is archived

A file at or past its part's mark was cut off while it was made, and counts for nothing.
"""

import json
import os
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import structlog

from .archive_files import stems_joined, write_text
from .archive_source import Kind, Part
from .errors import ArchiveError

log = structlog.get_logger()

KINDS: tuple[Kind, ...] = ("exposures", "outcomes")
_NAME = re.compile(r"(?P<stem>.+)-(?P<first>\d{12,})-(?P<last>\d{12,})")


class Stretch(NamedTuple):
    """Positions of a part, the last one included."""

    stem: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """What files that hold it are called.

        >>> Stretch("a1-000", 0, 41).name
        'a1-000-000000000000-000000000041'
        """
        return f"{self.stem}-{self.first:012d}-{self.last:012d}"


def stretch_of(file: Path) -> Stretch | None:
    """What a file's name says that it holds; None for a file of another name.

    >>> stretch_of(Path("a1-000-000000000007-000000000041.parquet"))
    Stretch(stem='a1-000', first=7, last=41)
    """
    match = _NAME.fullmatch(file.stem)
    return None if match is None else Stretch(match["stem"], int(match["first"]), int(match["last"]))


def mark_file(folder: Path, kind: str, stem: str) -> Path:
    """Where the mark of a part lies."""
    return folder / "_offsets" / f"{kind}-{stem}.json"


def read_mark(file: Path) -> int | None:
    """The position that comes next; None where there is no mark.

    Raises:
        ArchiveError: it cannot be read.
    """
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["next"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{file} cannot be read ({error}); restore it from a copy") from error


class Marks:
    """The marks of a folder that nobody else writes to; its files are listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[Kind, str], list[Path]] = defaultdict(list)
        for kind in KINDS:
            found = [
                *(folder / kind).glob("day=*/*.parquet"),
                *(folder / "unreadable" / kind).glob("*.jsonl"),
            ]
            for file in found:
                if (stretch := stretch_of(file)) is not None:
                    self._files[kind, stretch.stem].append(file)

    def read(self, part: Part) -> int | None:
        """The position that comes next; None for a part of which nothing is here.

        Raises:
            ArchiveError: the mark is missing or cannot be read: guessing would double rows or drop them.
        """
        file = mark_file(self._folder, part.kind, part.stem)
        mark = read_mark(file)
        if mark is None and (self._files[part.kind, part.stem] or part.stem in self._joined[part.kind]):
            raise ArchiveError(
                f"{file} is missing, but {self._folder} holds files of {_name(part)}; "
                "restore it, or move the folder away to archive anew"
            )
        return mark

    def move(self, part: Part, position: int) -> None:
        """What lies before the position counts from now on."""
        file = mark_file(self._folder, part.kind, part.stem)
        os.replace(write_text(file, json.dumps({**part.told, "next": position}) + "\n"), file)

    def remove_cut_off(self, part: Part, mark: int) -> None:
        """Remove what was written but never counted; it will be written again."""
        for file in self._files.pop((part.kind, part.stem), []):
            stretch = stretch_of(file)
            if stretch is not None and stretch.first >= mark:
                log.info("cut_off_removed", file=str(file))
                file.unlink()

    @cached_property
    def _joined(self) -> dict[Kind, set[str]]:
        return {kind: stems_joined(self._folder, kind) for kind in KINDS}


def _name(part: Part) -> str:
    return "/".join(str(one) for one in part.told.values())
