"""The event log that ends in files: JSON Lines, one family of files per kind of event.

    exposures-20260115T091500-4711-0.jsonl      finished: whole lines, never touched again
    exposures-20260115T101500-4711-1.jsonl.open  being written

A process writes files of its own, so that many workers share a folder. A file
is finished when it is large or old enough, and at the end. What a killed
process left open is finished by whoever opens the folder next: its torn last
line is cut off. DuckDB reads the folder as it is: `read_json('exposures-*.jsonl')`.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from experiments.errors import InvalidEvent

from .event_ring import CAPACITY, Delivery, EventRing, Kind, Line

ROTATE_BYTES = 64 * 1024 * 1024
ROTATE_S = 3600.0
_OPEN = ".open"


class JsonLinesEventLog(EventRing):
    """Delivers events into a folder, in the background.

    Args:
        folder: made if it is not there.
        capacity: how many events may wait; past it the oldest is dropped and counted.
        rotate_bytes, rotate_s: a file is finished when it is so large or so old.

    Raises:
        InvalidEvent: the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capacity: int = CAPACITY,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_s: float = ROTATE_S,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            finish_left_open(folder)
        except OSError as error:
            raise InvalidEvent(
                f"events cannot be written to {folder}: {error.strerror or error}; name a folder of your own"
            ) from error
        super().__init__(
            JsonLinesSink(folder, rotate_bytes=rotate_bytes, rotate_s=rotate_s),
            name="json-lines-event-log",
            capacity=capacity,
        )


class JsonLinesSink:
    """Appends lines to files, a file for each kind."""

    def __init__(self, folder: Path, *, rotate_bytes: int, rotate_s: float) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._files: dict[Kind, _OneFile] = {}
        self._pid = os.getpid()
        self._count = 0

    def write(self, lines: Sequence[Line]) -> Delivery:
        """Append each kind in one go; a kind that fails is tried again whole."""
        if self._pid != os.getpid():  # after a fork the open files are the parent's
            self._files, self._pid = {}, os.getpid()
        again: list[Line] = []
        first: OSError | None = None
        for kind in dict.fromkeys(line.kind for line in lines):
            of_kind = [line for line in lines if line.kind == kind]
            try:
                self._file(kind).append(b"".join(line.value + b"\n" for line in of_kind))
            except OSError as error:
                again += of_kind
                first = first or error
        if first is not None and len(again) == len(lines):
            raise first
        return Delivery(again=again)

    def close(self, *, timeout_s: float) -> None:
        """Finish what is open."""
        for file in self._files.values():
            with suppress(OSError):
                file.finish()
        self._files = {}

    def _file(self, kind: Kind) -> "_OneFile":
        file = self._files.get(kind)
        if file is not None and file.is_due(self._rotate_bytes, self._rotate_s):
            del self._files[kind]
            file.finish()
            file = None
        if file is None:
            at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            file = _OneFile(self._folder / f"{kind}-{at}-{self._pid}-{self._count}.jsonl")
            self._count += 1
            self._files[kind] = file
        return file


class _OneFile:
    """A file of whole lines; locked while it is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO = path.with_name(path.name + _OPEN).open("ab", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._stream.fileno()).st_nlink:
                raise FileNotFoundError(f"{path.name} was taken for one that was left, before it was locked")
        except OSError:
            self._stream.close()
            raise
        self._length = 0
        self._since_s = time.monotonic()

    def append(self, lines: bytes) -> None:
        """All of it or nothing, as far as the file system lets us."""
        try:
            written = 0
            while written < len(lines):
                written += self._stream.write(lines[written:]) or 0
        except OSError:
            with suppress(OSError):
                self._stream.truncate(self._length)
            raise
        self._length += len(lines)

    def is_due(self, rotate_bytes: int, rotate_s: float) -> bool:
        return self._length >= rotate_bytes or time.monotonic() - self._since_s >= rotate_s

    def finish(self) -> None:
        """Give it its name; one without a line goes."""
        opened = self._path.with_name(self._path.name + _OPEN)
        if self._length:
            opened.rename(self._path)
        else:
            opened.unlink()
        self._stream.close()


def finish_left_open(folder: Path) -> int:
    """Finish the files of processes that ended without it; how many there were."""
    count = 0
    for path in sorted(folder.glob(f"*.jsonl{_OPEN}")):
        with suppress(FileNotFoundError), path.open("r+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # somebody is writing it
            length = _whole_lines(stream)
            stream.truncate(length)
            if length:
                path.rename(path.with_name(path.name.removesuffix(_OPEN)))
            else:
                path.unlink()
            count += 1
    return count


def _whole_lines(stream: BinaryIO, *, step: int = 1 << 20) -> int:
    """The length up to the last line feed."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - step)
        stream.seek(begin)
        place = stream.read(end - begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        end = begin
    return 0
