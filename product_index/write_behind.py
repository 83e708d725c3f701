"""Writing in a thread of its own, one piece behind who makes the pieces.

While the encoder works on a page, the page before is written. One piece at a
time and in order: a store has one writer here as before. What a piece raises
comes out at the next one, or at the end; nothing is left undone or in doubt
when the block is left.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class WriteBehind:
    """Does what it is given, one behind; a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def __enter__(self) -> "WriteBehind":
        return self

    def __call__(self, work: Callable[[], None], *, before: Callable[[], None] = lambda: None) -> None:
        """Begin it once the one before is done.

        Args:
            work: to do in the other thread.
            before: asked in this thread, right before the work begins; if it raises, the work is not begun.

        Raises:
            Exception: what the work before raised; this one is then not begun.
        """
        self._wait()
        before()
        self._last = self._pool.submit(work)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
