"""Writing in a thread of its own, behind who makes the pieces.

While the encoder works on a page, the page before is written. One piece at a
time and in order: a store has one writer here as before. The next one waits at
the writer's hand: whoever makes the pieces holds the interpreter for some
milliseconds each, and the store would have nothing to do until then. What a
piece raises comes out at one of the next two, or at the end; nothing is left
undone or in doubt when the block is left.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class WriteBehind:
    """Does what it is given, one at work and one at hand; a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._given: deque[Future[None]] = deque()
        self._broken = False

    def __enter__(self) -> "WriteBehind":
        return self

    def __call__(self, work: Callable[[], None], *, before: Callable[[], None] = lambda: None) -> None:
        """Have it done once the one before is done; wait until no other is at hand.

        Args:
            work: to do in the other thread.
            before: asked there right before the work begins; if it raises, the work is not begun.

        Raises:
            Exception: what a piece before raised; none after that one is begun.
        """
        self._wait(leave=1)
        self._given.append(self._pool.submit(self._do, work, before))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait(leave=0)

    def _do(self, work: Callable[[], None], before: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            before()
            work()
        except BaseException:
            self._broken = True
            raise

    def _wait(self, *, leave: int) -> None:
        while len(self._given) > leave:
            self._given.popleft().result()
