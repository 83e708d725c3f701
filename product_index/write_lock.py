"""One writer at a time, across the threads and processes of this machine."""

import fcntl
import hashlib
import os
import tempfile
import threading
from pathlib import Path

import structlog

log = structlog.get_logger()
# Collections of which this process has said so.
_said: set[Path] = set()


class WriteLock:
    """Keeps writers of one collection apart. Writers on other machines are not seen."""

    def __init__(self, uri: str, collection: str) -> None:
        name = hashlib.sha256(f"{uri}\n{collection}".encode()).hexdigest()[:16]
        self._path = Path(tempfile.gettempdir()) / f"uniecs-index-{os.getuid()}-{name}.lock"
        self._collection = collection
        self._threads = threading.Lock()
        self._file = -1

    def __enter__(self) -> None:
        self._threads.acquire()
        if self._path not in _said:
            _said.add(self._path)
            log.info(
                "writers_take_turns", collection=self._collection, why="milvus-lite", lock=str(self._path)
            )
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # frees the lock too
        self._threads.release()
