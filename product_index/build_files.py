"""Where a rebuild keeps its files: a folder, or a place in an object store by its URL.

A path of this machine stays a `Path`; `s3://bucket/rebuild` and the like are
opened through universal-pathlib, which is fsspec with the manners of a path.
Keys and endpoints are fsspec's own matter, as for pictures. A file is there
whole or not at all: it is written beside its place and moved, or written here
and uploaded in one go; it is read as a whole, too.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias
from urllib.parse import unquote, urlsplit

from .errors import FolderUnavailable, InvalidSettings

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = "Path | UPath"


def place_of(said: "str | Place") -> "Place":
    """The folder or the place in a store that a setting, a plan or a message names.

    Raises:
        InvalidSettings: its kind of store is not known, or its package is not installed.
    """
    if not isinstance(said, str):
        return said
    scheme, mark, rest = said.partition("://")
    if not mark:
        return Path(said)
    if "@" in rest.partition("/")[0]:
        raise InvalidSettings(
            "REBUILD_FOLDER carries a user or a key before its '@', which logs would show; give keys by the "
            "environment of the store's client (AWS_ACCESS_KEY_ID, ...)"
        )
    if scheme == "file":
        return Path(unquote(urlsplit(said).path))
    try:
        from upath import UPath

        place = UPath(said)
        place.fs  # noqa: B018 - opened now: a package that is missing is told before the work
    except (ImportError, ValueError) as error:
        raise InvalidSettings(
            f"REBUILD_FOLDER is {said!r}: {error}; correct the address, or install "
            "uniecs-online[object-stores] and the store's own package"
        ) from error
    return place


def write_whole(place: "Place", write: Callable[[Path], object]) -> None:
    """Let `write` fill a file of this machine, then put it in its place in one step.

    Raises:
        FolderUnavailable: it cannot be written; nothing of it is left.
    """
    try:
        if isinstance(place, Path):
            _move(place, write)
        else:
            _upload(place, write)
    except OSError as error:
        raise FolderUnavailable(
            f"{place} cannot be written ({error}); make room in {place.parent}, or let REBUILD_FOLDER name "
            "another folder; what is written already is not made again"
        ) from error


def write_text(place: "Place", text: str) -> None:
    """Write a text whole.

    Raises:
        FolderUnavailable: it cannot be written.
    """
    write_whole(place, lambda part: part.write_text(text, encoding="utf-8"))


def read_text(place: "Place") -> str:
    """Read a text.

    Raises:
        FileNotFoundError: there is none.
        FolderUnavailable: it cannot be read.
    """
    with reading(place) as stream:
        return stream.read().decode()


@contextmanager
def reading(place: "Place") -> Iterator[BinaryIO]:
    """Open a file to read.

    Raises:
        FileNotFoundError: there is none.
        FolderUnavailable: it cannot be read.
    """
    try:
        if isinstance(place, Path):
            with place.open("rb") as stream:
                yield stream
            return
        with (
            tempfile.TemporaryDirectory(prefix="rebuild-") as folder,
            _download(place, Path(folder)).open("rb") as stream,
        ):
            yield stream
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FolderUnavailable(
            f"{place} cannot be read ({error}); look whether REBUILD_FOLDER is there and may be read"
        ) from error


def is_there(place: "Place") -> bool:
    """Whether there is such a file.

    Raises:
        FolderUnavailable: the store does not tell.
    """
    if isinstance(place, Path):
        return place.is_file()
    with _asking(place), suppress(FileNotFoundError):  # its is_file takes a store that is away for a No
        place.fs.info(place.path)
        return True
    return False


def names_in(place: "Place") -> list[str]:
    """What lies in a folder; nothing in one that is not there.

    Raises:
        FolderUnavailable: the store does not tell.
    """
    with _asking(place), suppress(FileNotFoundError):
        if isinstance(place, Path):
            return [one.name for one in place.iterdir()]
        return [str(one).rstrip("/").rpartition("/")[2] for one in place.fs.ls(place.path, detail=False)]
    return []


def remove_folder(place: "Place") -> None:
    """Remove a folder and all in it; what another removes meanwhile is no failure."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
        return
    with _asking(place), suppress(FileNotFoundError):
        place.fs.rm(place.path, recursive=True)


def _move(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _upload(place: "UPath", write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="rebuild-") as folder:
        part = Path(folder) / place.name
        write(part)
        with _as_of_a_disk():
            place.fs.put_file(str(part), place.path)


def _download(place: "UPath", folder: Path) -> Path:
    part = folder / place.name
    with _as_of_a_disk():
        place.fs.get_file(place.path, str(part))
    return part


@contextmanager
def _asking(place: "Place") -> Iterator[None]:
    try:
        with _as_of_a_disk():
            yield
    except OSError as error:
        raise FolderUnavailable(
            f"{place} cannot be asked for ({error}); look whether REBUILD_FOLDER is there and may be read"
        ) from error


@contextmanager
def _as_of_a_disk() -> Iterator[None]:
    """A store's client raises whatever it likes; a disk, OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the store fails: {error!r}") from error
