"""From a picture's name to its bytes: folders and zip files, nothing beyond them.

A name never leads out of the roots that were allowed. Nothing is fetched over
a network here (see remote_pictures), and nothing is decoded: the encoder
judges what a picture is.
"""

import os
import threading
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from .errors import InvalidSettings, PictureMissing, PictureUnavailable

# A product photo of more than this is a scan or a mistake; reading it for every
# product would fill memory.
MAX_PICTURE_BYTES = 20 * 1024 * 1024


class Pictures(Protocol):
    """Where pictures are kept; any thread may ask.

    One that waits for others may say by an attribute `at_once` how many of its
    pictures may be waited for side by side.
    """

    def read(self, uri: str) -> bytes:
        """Return the bytes of one picture.

        Raises:
            PictureMissing: not there, too large, or outside what may be read.
            PictureUnavailable: the place did not answer; try later.
        """
        ...


class NoPictures:
    """The twin: a dictionary, empty by default."""

    def __init__(self, known: dict[str, bytes] | None = None) -> None:
        self._known = known or {}

    def read(self, uri: str) -> bytes:
        """Return what the dictionary holds."""
        if uri not in self._known:
            raise PictureMissing(f"no picture {uri!r} among the {len(self._known)} known; check the name")
        return self._known[uri]


class LocalPictures:
    """Pictures in folders and zip files, asked in order; the first that has the name answers."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._folders = [os.path.join(os.path.realpath(root), "") for root in roots if root.is_dir()]
        self._zips = [_Zip(root) for root in roots if not root.is_dir()]
        self._said = ", ".join(str(root) for root in roots) or "nowhere"

    def read(self, uri: str) -> bytes:
        """Return the bytes under a relative name, an inner path or a `file:` URI."""
        name = _local_name(uri)
        for folder in self._folders:
            path = os.path.realpath(os.path.join(folder, name))  # as text: a Path takes three times as long
            if path.startswith(folder) and os.path.isfile(path):
                return _read_file(Path(path), uri)
        for archive in self._zips:
            found = archive.read(name, uri)
            if found is not None:
                return found
        raise PictureMissing(
            f"no picture {uri!r} inside {self._said}; check the name, or set PICTURE_ROOT to the right place"
        )


def pictures_beside(*roots: Path) -> LocalPictures:
    """Read from folders, their sub-folders and the zip files in them; or from zip files.

    Raises:
        InvalidSettings: there is no such folder or zip file.
    """
    places: list[Path] = []
    for root in roots:
        if not root.exists():
            raise InvalidSettings(
                f"picture root {str(root)!r} does not exist; set PICTURE_ROOT to a folder or a zip"
            )
        places.append(root)
        if root.is_dir():
            inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
            places += [*sorted(inner), *sorted(root.glob("*.zip"))]
    return LocalPictures(places)


@dataclass(slots=True)
class Sought:
    """Which of the names that a catalogue gives have a picture; the first so many are looked for.

    Attributes:
        at_most: names looked for; the rest is believed.
        named: looked for.
        missing: of these, not there.
        first: the sentence about the first of these.
        addresses: not looked for; they are asked for when an index is built.
    """

    pictures: Pictures
    at_most: int
    named: int = 0
    missing: int = 0
    first: str = ""
    addresses: int = 0

    def look(self, uris: Iterable[str]) -> None:
        """Look for some more."""
        for uri in uris:
            if "://" in uri and not uri.startswith("file:"):
                self.addresses += 1
            elif self.named < self.at_most:
                self.named += 1
                try:
                    self.pictures.read(uri)
                except PictureMissing as error:
                    self.missing += 1
                    self.first = self.first or str(error)

    def sentence(self) -> str:
        """For a person, or "" where nothing is named."""
        told = [f"{self.named - self.missing:,} of {self.named:,} looked for are there"] if self.named else []
        if self.missing:
            told.append(f"the first that is not: {self.first}")
        if self.addresses:
            told.append(f"{self.addresses:,} not looked for: addresses are asked when an index is built")
        return "; ".join(told)


class _Zip:
    """One archive, opened on first use and kept open; reads are one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open: zipfile.ZipFile | None = None
        self._by_last_name: dict[str, list[str]] = {}

    def read(self, name: str, uri: str) -> bytes | None:
        """Return the member of that name, or of that last name where only one has it."""
        with self._lock:
            try:
                archive = self._opened()
                member = self._member(archive, name)
                if member is None:
                    return None
                if member.file_size > MAX_PICTURE_BYTES:
                    raise PictureMissing(too_large(repr(uri), member.file_size))
                with archive.open(member) as stream:  # the size in the header may lie
                    found = stream.read(MAX_PICTURE_BYTES + 1)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                raise PictureMissing(
                    f"picture {uri!r} in {self._path}: {error}; repack the zip file"
                ) from error
            except OSError as error:
                raise PictureUnavailable(f"picture {uri!r} in {self._path}: {error}") from error
        if len(found) > MAX_PICTURE_BYTES:
            raise PictureMissing(too_large(repr(uri), len(found)))
        return found

    def _opened(self) -> zipfile.ZipFile:
        if self._open is None:
            self._open = zipfile.ZipFile(self._path)
            for member in self._open.namelist():
                self._by_last_name.setdefault(PurePosixPath(member).name, []).append(member)
        return self._open

    def _member(self, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
        named = self._by_last_name.get(PurePosixPath(name).name, [])
        if name in named:
            return archive.getinfo(name)
        return archive.getinfo(named[0]) if len(named) == 1 else None


def _local_name(uri: str) -> str:
    parts = urlsplit(uri) if "://" in uri or uri.startswith("file:") else None
    if parts is not None and parts.scheme != "file":
        raise PictureMissing(
            f"picture {uri[:200]!r} is a {parts.scheme!r} address, only files are read here; "
            "download it into the catalogue's folder and name the file, or allow it by PICTURE_WEB "
            "(http, https) or PICTURE_STORES"
        )
    name = unquote(parts.path) if parts is not None else uri
    if "\0" in name or not name.strip():
        raise PictureMissing(
            f"picture name {uri[:200]!r} is no file name; give one relative to the picture root"
        )
    return name


def _read_file(path: Path, uri: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_PICTURE_BYTES:
            raise PictureMissing(too_large(repr(uri), size))
        return path.read_bytes()
    except PermissionError as error:
        raise PictureMissing(f"picture {uri!r}: {path} may not be read; change its permissions") from error
    except OSError as error:
        raise PictureUnavailable(f"picture {uri!r}: {error}") from error


def too_large(said: str, size: int) -> str:
    """Why a picture of so many bytes is not read."""
    return f"picture {said} has {size} bytes, at most {MAX_PICTURE_BYTES} are read; make it smaller"
