"""The twin of a broker: topics in memory, their group's only member, a reader of whole topics.

It keeps the promises of `change_log`; nothing is far away, so nothing waits.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from .change_log import Message, Offsets, Outgoing, Partition
from .errors import OwnershipLost


class InMemoryTopics:
    """The twin of a broker, and a sink that writes to it."""

    def __init__(self, *, partitions: int = 2, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.partitions = partitions
        self._now_ms = now_ms
        self.committed: dict[tuple[str, Partition], int] = {}
        self._messages: dict[Partition, list[Message]] = defaultdict(list)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Append them."""
        for message in messages:
            self.append(message, timestamp_ms=self._now_ms())

    def append(self, message: Outgoing, *, timestamp_ms: int = 0) -> Message:
        """Append one, and return it as it lies there."""
        index = zlib.crc32(message.key or b"") % self.partitions
        held = self._messages[Partition(message.topic, index)]
        held.append(
            Message(
                topic=message.topic,
                partition=index,
                offset=len(held),
                key=message.key,
                value=message.value,
                headers=message.headers,
                timestamp_ms=timestamp_ms,
            )
        )
        return held[-1]

    def messages(self, topic: str) -> list[Message]:
        """Everything in a topic, partition by partition."""
        return [message for index in range(self.partitions) for message in self.held(Partition(topic, index))]

    def held(self, partition: Partition) -> list[Message]:
        """Everything in a partition."""
        return self._messages[partition]

    def take(self, positions: dict[Partition, int], max_messages: int) -> list[Message]:
        """What lies at these positions, which move on behind it."""
        taken: list[Message] = []
        for partition, position in positions.items():
            new = self.held(partition)[position : position + max_messages - len(taken)]
            positions[partition] = position + len(new)
            taken += new
        return taken

    def close(self) -> None:
        """Nothing to let go of."""


class InMemoryChangeLog:
    """The twin of a group's only member. A new one starts at what was committed: a crash is a new one."""

    def __init__(self, topics: InMemoryTopics, topic: str, *, group: str = "group") -> None:
        self.commits: list[dict[Partition, int]] = []
        self.heartbeats = 0
        self._topics = topics
        self._group = group
        self._paused = False
        self._held: list[Partition] = []
        self._positions = {
            partition: topics.committed.get((group, partition), 0)
            for partition in (Partition(topic, index) for index in range(topics.partitions))
        }

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came since; never waits."""
        return [] if self._paused else self._topics.take(self._positions, max_messages)

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge."""
        for partition in offsets:
            if partition not in self._positions:
                raise OwnershipLost(f"{partition.topic}/{partition.index} is not ours")
        self.commits.append(dict(offsets))
        for partition, offset in offsets.items():
            self._topics.committed[self._group, partition] = offset

    def assigned(self) -> list[Partition]:
        """All of the topic."""
        return sorted(self._positions)

    def owns(self, partition: Partition) -> bool:
        """Nobody takes anything away from the only member, unless told so."""
        return partition in self._positions

    def hold(self, partitions: Iterable[Partition]) -> None:
        """Note them."""
        self._held = list(partitions)

    def check(self) -> None:
        """Raise where some of it is gone."""
        if gone := [one for one in self._held if not self.owns(one)]:
            raise OwnershipLost(f"{gone} were taken over")

    def lose(self, partition: Partition) -> None:
        """Somebody takes it away after all."""
        del self._positions[partition]

    def since(self, offsets: Offsets) -> Iterator[list[Message]]:
        """All at once."""
        yield [one for partition, offset in offsets.items() for one in self._topics.held(partition)[offset:]]

    def silent_s(self) -> float:
        """It is never silent."""
        return 0.0

    def read_ahead(self, working: Callable[[], bool], *, max_messages: int) -> None:
        """Nothing is far away."""

    def pause(self, working: Callable[[], bool] = lambda: False) -> None:
        """Take nothing new."""
        self._paused = True

    def heartbeat(self) -> None:
        """Count it."""
        self.heartbeats += 1

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False

    def close(self) -> None:
        """Nothing to leave."""


class InMemoryTopicReader:
    """The twin of a reader of whole topics."""

    def __init__(self, topics: InMemoryTopics, names: Sequence[str], *, group: str = "reader") -> None:
        self._topics = topics
        self._group = group
        self._positions = {Partition(name, index): 0 for name in names for index in range(topics.partitions)}

    def partitions(self) -> list[Partition]:
        """Every partition, sorted."""
        return sorted(self._positions)

    def identity(self, topic: str) -> str:
        """The same for the same name."""
        return f"{zlib.crc32(topic.encode()):08x}"

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """From nought to how many there are."""
        return 0, len(self._topics.held(partition))

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """The first that was written then or later; how many there are if none."""
        held, at_ms = self._topics.held(partition), moment.timestamp() * 1000
        return next((one.offset for one in held if one.timestamp_ms >= at_ms), len(held))

    def committed(self, partition: Partition) -> int | None:
        """The offset acknowledged last."""
        return self._topics.committed.get((self._group, partition))

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""
        self._positions[partition] = offset

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What is there; never waits."""
        return self._topics.take(self._positions, max_messages)

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge."""
        for partition, offset in offsets.items():
            self._topics.committed[self._group, partition] = offset

    def close(self) -> None:
        """Nothing to let go of."""
