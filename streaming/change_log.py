"""The roles of the log of messages, and the messages.

`ChangeLog` is one member of a consumer group; `TopicReader` reads whole topics
from any offset; `MessageSink` writes. Bytes in, bytes out: what they mean is
`events.py`'s business.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered part of a topic."""

    topic: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it lies in the log.

    Attributes:
        timestamp_ms: when it was written, by the log or its producer.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0

    @property
    def source(self) -> Partition:
        """The partition it lies in."""
        return Partition(self.topic, self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to be written; the same key always goes to the same partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


# From a partition to the offset of the next message to read.
Offsets = Mapping[Partition, int]


class ChangeLog(Protocol):
    """A member of a consumer group: reads its share, acknowledges when told."""

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time.

        Raises:
            LogUnavailable: nothing was read.
        """
        ...

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge everything before these offsets.

        Partitions that are no longer ours since their last poll are left out.

        Raises:
            OwnershipLost: the group has moved on; the messages come again, to somebody.
            LogUnavailable: it may or may not have been taken.
        """
        ...

    def assigned(self) -> list[Partition]:
        """The partitions that are ours now, sorted; may be asked from any thread."""
        ...

    def owns(self, partition: Partition) -> bool:
        """Whether a partition has been ours without a break since it was last polled."""
        ...

    def hold(self, partitions: Iterable[Partition]) -> None:
        """Work on what was polled of these begins, and ends on all others."""
        ...

    def check(self) -> None:
        """Return if nobody else can have what we hold; asked before every write and after the last.

        Raises:
            OwnershipLost: some of it was taken away since it was polled.
            LogUnavailable: the group has not heard from us, so it may have been; ask again.
        """
        ...

    def silent_s(self) -> float:
        """For how long the group has not heard from us; may be asked from any thread."""
        ...

    def since(self, offsets: Offsets) -> Iterator[list[Message]]:
        """What these partitions hold from there to their ends, whoever has them now.

        Raises:
            LogUnavailable: not all of it was read.
        """
        ...

    def read_ahead(self, working: Callable[[], bool], *, max_messages: int) -> None:
        """Take what is there already, for a later poll; never waits for more.

        What is asked back meanwhile is kept while `working()`, within a budget.
        """
        ...

    def pause(self, working: Callable[[], bool] = lambda: False) -> None:
        """Take nothing new, stay a member; what is asked back is kept while `working()`, within a budget."""
        ...

    def heartbeat(self) -> None:
        """While paused: tell the group that we live. Loses nothing."""
        ...

    def resume(self) -> None:
        """Take messages again."""
        ...

    def close(self) -> None:
        """Leave the group, acknowledging nothing more."""
        ...


class TopicReader(Protocol):
    """Reads all partitions of some topics from any offset; a group of one."""

    def partitions(self) -> list[Partition]:
        """Every partition of the topics, sorted."""
        ...

    def identity(self, topic: str) -> str:
        """A name that a topic keeps for life and no other ever gets; letters and digits."""
        ...

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first offset that is kept and the next to be written."""
        ...

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """The first offset that is kept of what was written then or later; the next to be written if none."""
        ...

    def committed(self, partition: Partition) -> int | None:
        """The offset acknowledged last."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""
        ...

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time."""
        ...

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge everything before these offsets."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class MessageSink(Protocol):
    """Writes messages."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Return once the log has answered for all of them.

        Raises:
            LogUnavailable: some may have been written; the same call may be repeated.
            Refused: one cannot be written; the others may have been.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
