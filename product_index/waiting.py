"""Nothing waits beyond its deadline, a moment of `time.monotonic()`."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


def left_of(deadline: float) -> float:
    """How many seconds are left.

    Raises:
        TimeoutError: none.
    """
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def within(timeout_s: float, act: Callable[[], Answer]) -> Answer:
    """Act, and wait so long at most; what hangs goes on in a thread that nobody waits for.

    Raises:
        TimeoutError: it took longer.
    """
    answers: SimpleQueue[tuple[Answer | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((act(), None))
        except BaseException as error:  # handed to who waits
            answers.put((None, error))

    Thread(target=work, name="picture", daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(0.0, timeout_s))
    except Empty:
        raise TimeoutError(f"no answer within {timeout_s:.1f} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only where act returns it
