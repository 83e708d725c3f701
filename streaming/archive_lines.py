"""Archived events from JSON Lines: a part is a file, a position is a byte.

    exposures-20260115T091500-4711-0.jsonl        finished
    exposures-20260115T101500-4711-1.jsonl.open   being written
    outcomes.jsonl, outcomes.jsonl.1              a shop's own, and as logrotate leaves it

A file is known by its name up to `.jsonl` and by its first line, so that it may be
renamed when it is rotated, and moved to another folder. Only whole lines are
read: a torn last one is left for the next run.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import structlog

from .archive_source import Kind, Part, Record
from .errors import ArchiveError

log = structlog.get_logger()

_NAME = re.compile(r"(?P<base>(?P<kind>exposures|outcomes).*?\.jsonl)(\.open|[.-]\d+)?")
_IDENTITY_CHARACTERS = 16
_STEP = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as it was when it was looked at.

    Attributes:
        part: None while it has no whole line.
        end: where its last whole line ends that is not blank.
        is_torn: whether something comes after that.
        stamp: as long as this is the same, so is the file.
    """

    path: Path
    part: Part | None
    end: int
    is_torn: bool
    stamp: tuple[int, int, int]


class LineEvents:
    """Reads the events files of a folder and of the folders in it, or one file.

    Raises:
        ArchiveError: there is no such folder, or the file is not named for its kind.
    """

    def __init__(self, source: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        if not source.exists():
            raise ArchiveError(
                f"{source}: no such file or folder; name the folder that RECALL_EVENTS names, or a file of it"
            )
        if source.is_file() and _NAME.fullmatch(source.name) is None:
            raise ArchiveError(
                f"{source.name} does not say what it holds; "
                "rename it to begin with exposures or outcomes and to end in .jsonl"
            )
        self._source = source
        self._sleep = sleep
        self._seen: dict[Path, _File] = {}
        self._files: dict[Part, _File] = {}
        self._told: set[Part] = set()
        self._positions: dict[Part, int] = {}

    def new_parts(self) -> list[Part]:
        """Files that have come to be, or to have a whole line, since the last look."""
        self._look()
        new = [part for part in self._files if part not in self._told]
        self._told.update(new)
        return new

    def resume(self, part: Part, position: int | None) -> tuple[int, int]:
        """Go there; a file that is shorter now is told of."""
        file = self._files[part]
        start = position or 0
        if start > file.end:
            log.warning(
                "file_was_cut",
                **part.told,
                archived=start,
                ends=file.end,
                reason="archived lines are no longer in the file; nothing is read below the mark",
            )
        self._positions[part] = start
        return start, file.end

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """The next lines; waits only when there is none.

        Raises:
            ArchiveError: a file changed below what is archived of it, or went away.
        """
        taken: list[Record] = []
        for part, position in self._positions.items():
            if len(taken) >= max_records:
                break
            if part in self._files and position < self._files[part].end:
                new = list(self._read(part, position, max_records - len(taken)))
                self._positions[part] = new[-1].end
                taken += new
        if not taken:
            self._sleep(timeout_s)
        return taken

    def acknowledge(self, positions: Mapping[Part, int]) -> None:
        """Nobody asks a file how far it was read."""

    def remarks(self) -> list[str]:
        """What is left to a next run, or to a person."""
        torn = sum(file.is_torn for file in self._seen.values())
        other = sorted(
            path.name for path in self._paths() if path not in self._seen and not path.name.startswith(".")
        )
        remarks = []
        if not self._seen:
            remarks.append(f"{self._source} holds no exposures*.jsonl and no outcomes*.jsonl")
        if torn:
            remarks.append(f"{_files(torn)} in a line that is not whole yet; the next run takes it")
        if other:
            remarks.append(
                f"{len(other)} not read, as the name does not end in .jsonl: {', '.join(other[:3])}"
            )
        return remarks

    def _read(self, part: Part, position: int, limit: int) -> Iterator[Record]:
        with self._open(part) as stream:
            end = self._files[part].end
            stream.seek(max(0, position - 1))
            if position and stream.read(1) != b"\n":
                raise ArchiveError(
                    f"{self._files[part].path} was changed below byte {position}, which is archived; "
                    "move it away, or the archive, to archive anew"
                )
            begin = position
            while position < end and limit:
                line = stream.readline()
                if not line:
                    raise ArchiveError(f"{stream.name} was cut while it was read; start again")
                position += len(line)
                if line.isspace():  # no event; it counts to the next one
                    continue
                yield Record(part, begin, position, line.rstrip(b"\r\n"))
                begin, limit = position, limit - 1

    def _open(self, part: Part) -> BinaryIO:
        """The file as it was looked at, wherever it is now."""
        path = self._files[part].path
        for _ in range(2):
            file = self._files.get(part)
            if file is None:
                break
            try:
                stream = file.path.open("rb")
            except FileNotFoundError:
                self._look()
                continue
            if os.fstat(stream.fileno()).st_ino == file.stamp[0]:
                return stream
            stream.close()
            self._look()
        raise ArchiveError(f"{path} went away before it was archived; put it back and start again")

    def _look(self) -> None:
        """Find the files, and how far each goes now."""
        seen: dict[Path, _File] = {}
        for path in self._paths():
            if (match := _NAME.fullmatch(path.name)) is None:
                continue
            try:
                seen[path] = self._looked_at(path, cast("Kind", match["kind"]), match["base"])
            except FileNotFoundError:  # renamed just now; the next look finds it
                continue
            except OSError as error:
                raise ArchiveError(f"{path}: {error.strerror}; let this user read it") from error
        if seen == self._seen:
            return
        self._seen, self._files = seen, {}
        for file in seen.values():
            if file.part is not None:
                other = self._files.get(file.part)
                self._files[file.part] = file if other is None else _longer(other, file)

    def _looked_at(self, path: Path, kind: Kind, base: str) -> _File:
        now = path.stat()
        stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
        known = self._seen.get(path)
        if known is not None and known.stamp == stamp:
            return known
        with path.open("rb") as stream:
            first = next((line for line in stream if not line.isspace()), b"")
            if not first.endswith(b"\n"):
                return _File(path=path, part=None, end=0, is_torn=bool(first), stamp=stamp)
            identity = hashlib.sha256(base.encode() + b"\n" + first).hexdigest()[:_IDENTITY_CHARACTERS]
            end, is_torn = _whole_lines(stream)
        told = {"file": str(path.relative_to(self._source)) if path != self._source else path.name}
        part = Part(kind=kind, stem=f"jsonl-{identity}", told=told)
        return _File(path=path, part=part, end=end, is_torn=is_torn, stamp=stamp)

    def _paths(self) -> list[Path]:
        """Files that may be events, in the order of their names."""
        if self._source.is_file():
            return [self._source]
        found = (path for name in ("exposures", "outcomes") for path in self._source.rglob(f"{name}*.jsonl*"))
        return sorted(path for path in found if path.is_file())


def _longer(one: _File, other: _File) -> _File:
    """Of a file and its copy the one that goes further.

    Raises:
        ArchiveError: they are no copies.
    """
    short, long = sorted((one, other), key=lambda file: file.end)
    with short.path.open("rb") as left, long.path.open("rb") as right:
        for begin in range(0, short.end, _STEP):
            size = min(_STEP, short.end - begin)
            if left.read(size) != right.read(size):
                raise ArchiveError(
                    f"{one.path} and {other.path} have one name and one first line, and go on differently; "
                    "an events file has no heading: remove it from both"
                )
    return long


def _whole_lines(stream: BinaryIO) -> tuple[int, bool]:
    """Where the last whole line ends that is not blank, and whether something comes after it."""
    begin = stream.seek(0, os.SEEK_END)
    tail = b""
    while begin > 0:
        begin, before = max(0, begin - _STEP), begin
        stream.seek(begin)
        tail = stream.read(before - begin) + tail
        whole = tail[: tail.rfind(b"\n") + 1]
        if kept := whole.rstrip():
            return begin + whole.index(b"\n", len(kept)) + 1, bool(tail[len(whole) :].strip())
    return 0, bool(tail.strip())


def _files(count: int) -> str:
    return "1 file ends" if count == 1 else f"{count} files end"
