"""A few daemon threads for one channel: never more, never waited for.

A thread that hangs cannot be stopped. So each channel has its own threads, a
limit on them and no queue: with all of them busy, work is refused at once. The
threads are daemons, so that a hung one does not keep the process from ending.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

Work = Callable[[], None]


class Workers:
    """At most `limit` pieces of work at a time, each on a thread named for the channel."""

    def __init__(self, name: str, *, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._threads: list[Thread] = []
        self._in_flight = 0
        self._start_afresh()

    @property
    def busy(self) -> int:
        """How many pieces of work have not come back."""
        return self._in_flight

    def submit(self, work: Work) -> bool:
        """Take the work, or say no at once: all threads are busy, or closed.

        The work reports for itself; what it raises is lost.
        """
        if self._pid != os.getpid():  # threads do not survive a fork
            self._start_afresh()
        with self._lock:
            if self._closed or self._in_flight >= self._limit:
                return False
            if self._in_flight >= len(self._threads) and not self._start_one():
                return False
            self._in_flight += 1
        self._waiting.put(work)
        return True

    def close(self, *, timeout_s: float = 1.0) -> None:
        """Take no more work; idle threads end now, a busy one when its work comes back."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join(timeout_s if self._in_flight == 0 else 0)

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._threads = []
        self._in_flight = 0
        self._closed = False

    def _start_one(self) -> bool:
        name = f"recall-{self._name}-{len(self._threads) + 1}"
        thread = Thread(target=self._serve, args=(self._waiting,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            return False
        self._threads.append(thread)
        return True

    def _serve(self, waiting: "SimpleQueue[Work | None]") -> None:
        while (work := waiting.get()) is not None:
            with suppress(BaseException):  # there is nobody to raise to, and the thread must go on serving
                work()
            with self._lock:
                self._in_flight -= 1
            del work  # an idle thread must not keep a query's image alive
