"""Files of the archive, written so that a kill leaves either all of one or nothing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ArchiveError


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
