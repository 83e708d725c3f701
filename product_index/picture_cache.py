"""Pictures that were fetched, on disk, by address; bounded, and never in the way.

A file holds one line of JSON and the bytes; the line has their SHA-256, so that
a file that was cut off or changed is no picture. Addresses are kept as hashes:
some carry a signature. When the bound is passed, what was not used for longest
goes first. A disk that is full or gone costs the cache, not the picture.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from .picture_web import Fetched

log = structlog.get_logger()

# After a sweep so much of the bound is left, so that not every picture sweeps.
_SWEPT_TO = 0.9
# Other processes fill the same folder: look at all of it again after so many pictures of ours.
_LOOK_AGAIN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A picture from the cache, and when its host last said that it is this one."""

    fetched: Fetched
    asked_at: float


class PictureCache:
    """A folder of pictures; any number of threads and processes may share it.

    Args:
        folder: made when the first picture comes.
        max_bytes: of all pictures together; 0 keeps none.
        now_s: seconds since 1970.
    """

    def __init__(self, folder: Path, *, max_bytes: int, now_s: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._now_s = now_s
        self._lock = threading.Lock()
        self._bytes: int | None = None  # not known until somebody looked
        self._put_since = 0

    def get(self, url: str) -> Kept | None:
        """What is kept of this address."""
        path = self._path(url)
        try:
            head, _, picture = path.read_bytes().partition(b"\n")
            said = json.loads(head)
            if hashlib.sha256(picture).hexdigest() != said["sha256"]:
                raise ValueError("not the bytes that were kept")  # noqa: TRY301 - one way out
            kept = Kept(
                fetched=Fetched(picture=picture, etag=said["etag"], last_modified=said["last_modified"]),
                asked_at=float(said["asked_at"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        return kept

    def put(self, url: str, fetched: Fetched) -> None:
        """Keep it, if there is room and a disk."""
        if len(fetched.picture) > self._max_bytes:
            return
        said = {
            "sha256": hashlib.sha256(fetched.picture).hexdigest(), "etag": fetched.etag,
            "last_modified": fetched.last_modified, "asked_at": self._now_s(),
        }  # fmt: skip
        path = self._path(url)
        part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        whole = json.dumps(said).encode() + b"\n" + fetched.picture
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(whole)
            os.replace(part, path)
            self._make_room(len(whole))
        except OSError as error:
            log.warning("picture_not_kept", folder=str(self._folder), reason=str(error))
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _path(self, url: str) -> Path:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / name[:2] / name

    def _make_room(self, more: int) -> None:
        with self._lock:
            self._put_since += 1
            if self._bytes is not None:
                self._bytes += more
                if self._bytes <= self._max_bytes and self._put_since < _LOOK_AGAIN:
                    return
            self._put_since = 0
            self._bytes = self._sweep()

    def _sweep(self) -> int:
        """Drop what was not used for longest until there is room; return what is left, in bytes."""
        files = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):  # another process swept it
                told = path.stat()
                files.append((told.st_mtime_ns, told.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._max_bytes:
            return total
        for _, size, path in sorted(files):
            if total <= _SWEPT_TO * self._max_bytes:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size
        return total
