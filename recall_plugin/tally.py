"""Counts of what went by: cheap, safe between threads, never forgotten silently."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock


class Tally:
    """Named counts that only rise."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Count it."""
        with self._lock:
            self._counts[name] += count

    def read(self) -> Mapping[str, int]:
        """All counts so far, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
