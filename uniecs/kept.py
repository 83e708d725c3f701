"""A bounded memory of what was used most recently."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

One = TypeVar("One")


class Kept(Generic[One]):
    """What was used most recently of pictures, by the digest of their bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._held: OrderedDict[bytes, One] = OrderedDict()

    def get(self, digest: bytes) -> One | None:
        """Return what is held, and hold it longer."""
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
            return self._held.get(digest)

    def take(self, digest: bytes) -> One | None:
        """Return what is held, and let it go."""
        with self._lock:
            return self._held.pop(digest, None)

    def put(self, digest: bytes, one: One) -> None:
        """Hold it; what was used longest ago goes where there are too many."""
        with self._lock:
            self._held[digest] = one
            if len(self._held) > self._size:
                self._held.popitem(last=False)
