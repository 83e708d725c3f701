"""The group that each test of a real Kafka has for itself: its members, and how far it is behind."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import Any

from streaming.build import group_lag
from streaming.change_log import Message
from streaming.kafka import KafkaChangeLog, KafkaTopicReader

# Nothing takes so long, on however busy a machine; who waits longer waits for ever.
GIVE_UP_S = 300.0


def joined(
    connection: dict[str, Any], topic: str, *, session_timeout_s: float = 30.0, **options: Any
) -> KafkaChangeLog:
    """One more member of the topic's group.

    The group hears of a second one with the next heartbeat, a quarter of the session; but with
    a short session it gives up whoever a busy machine has let stand still.
    """
    group = f"group-{topic}"
    return KafkaChangeLog(connection, [topic], group=group, session_timeout_s=session_timeout_s, **options)


def behind(connection: dict[str, Any], topic: str) -> int:
    """How many messages of the topic its group has not acknowledged."""
    return sum(one.behind for one in group_lag(connection, [topic], group=f"group-{topic}"))


def read_all(connection: dict[str, Any], topic: str) -> list[Message]:
    """Everything in a topic."""
    with closing(KafkaTopicReader(connection, [topic], group=f"look-{topic}")) as reader:
        ends = {partition: reader.bounds(partition)[1] for partition in reader.partitions()}
        for partition in ends:
            reader.seek(partition, 0)
        found: list[Message] = []
        while len(found) < sum(ends.values()):
            found += reader.poll(timeout_s=1.0, max_messages=500)
        return found


@contextmanager
def standstills() -> Iterator[list[float]]:
    """How long each time a thread had to wait that wants to go on ten times a second."""
    waited_s, done = [0.0], Event()

    def tick() -> None:
        before_s = time.monotonic()
        while not done.wait(0.1):
            waited_s.append(time.monotonic() - before_s)
            before_s += waited_s[-1]

    thread = Thread(target=tick)
    thread.start()
    try:
        yield waited_s
    finally:
        done.set()
        thread.join()


def eventually(true: Callable[[], bool], *, ask_every_s: float = 0.2) -> None:
    """Return as soon as it is."""
    give_up_s = time.monotonic() + GIVE_UP_S
    while not true():
        assert time.monotonic() < give_up_s, f"not after {GIVE_UP_S:g} s"
        time.sleep(ask_every_s)


def until(true: Callable[[], bool]) -> Callable[[], bool]:
    """When a worker is to stop: as soon as it is, or has not been for much too long."""
    give_up_s = time.monotonic() + GIVE_UP_S
    return lambda: true() or time.monotonic() > give_up_s
