"""Files of the archive, written so that a kill leaves either all of one or nothing."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ArchiveError

# A file that compaction made of others.
JOINED = "joined-"
# In its Parquet metadata: the names of those files, and of which parts they held rows.
FROM, STEMS = b"uniecs.from", b"uniecs.stems"


def beside(target: Path) -> Path:
    """Where to write what will be moved to `target`: a name that no reader looks for."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.partial")


def write_text(target: Path, text: str) -> Path:
    """Write beside the target, and return where."""
    written = beside(target)
    written.write_text(text, encoding="utf-8")
    settle(written)
    return written


def settle(file: Path) -> None:
    """Return when the disk has it."""
    with file.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Be the only one who writes to an archive.

    Raises:
        ArchiveError: another does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ArchiveError(
                f"another archiver writes to {folder}; end it, or set EXPERIMENT_LOGS"
            ) from error
        yield


def told_by(joined: Path) -> Mapping[bytes, list[str]]:
    """What a joined file tells of itself."""
    import pyarrow.parquet as pq  # heavy: loaded when there is something to read

    metadata: Mapping[bytes, Any] = pq.read_schema(joined).metadata or {}
    return {name: json.loads(metadata.get(name, b"[]")) for name in (FROM, STEMS)}


def stems_joined(folder: Path, kind: str) -> set[str]:
    """Of which parts the joined files of a kind hold rows."""
    joined = (folder / kind).glob(f"day=*/{JOINED}*.parquet")
    return {stem for file in joined for stem in told_by(file)[STEMS]}
