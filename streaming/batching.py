"""Messages into batches: closed by number, by bytes or by deadline, whichever is first.

Pure: no clock, no I/O. A batch knows the offsets to acknowledge once it is done.
Which change of a product wins is decided in `product_index.standing`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .change_log import Message, Partition

# Twice a quick batch takes a second, which is what a change may take to be searchable.
QUICK_S, SLOW_S = 0.5, 1.5
# Twice as many messages have paid where so many times as many are done in a second.
PAYS = 1.3


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are worked on and acknowledged together."""

    messages: tuple[Message, ...]

    @property
    def offsets(self) -> dict[Partition, int]:
        """Per partition the offset after its last message.

        A partition's messages come in order and all of them are in the batch,
        so everything before these offsets is done when the batch is.
        """
        return {message.source: message.offset + 1 for message in self.messages}


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A batch that has been worked off.

    Attributes:
        outcomes: how many messages of each outcome.
        offsets: per partition where it now stands, those acknowledged alone.
        stages_s: how long each stage took, by name.
    """

    messages: int
    outcomes: Mapping[str, int]
    offsets: Mapping[Partition, int]
    stages_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stride:
    """How many messages the next batch may hold: more while a backlog fills batches, as long as it pays.

    What a request to a store costs is shared by its rows, so a backlog of prices
    goes faster in large batches, and most of all where the store is far away; one
    that the encoder works on would only be acknowledged later. So a full batch that
    was quick doubles the stride; one that was not does so where more are done in a
    second than before, which the first one tries. A batch that took long halves it.

    >>> stride = Stride(least=64, most=1024)
    >>> [stride.after(messages=64, took_s=took_s).size for took_s in (0.1, 0.9, 2.0)]
    [128, 128, 64]
    >>> far = stride.after(messages=64, took_s=0.8).after(messages=128, took_s=0.8)
    >>> encoding = stride.after(messages=64, took_s=0.7).after(messages=128, took_s=1.4)
    >>> far.size, encoding.size
    (256, 128)

    Attributes:
        least, most: its bounds.
        size: of the next batch; 0 stands for the least.
        per_s: messages per second of the best full batch of this backlog; 0 before the first.
    """

    least: int
    most: int
    size: int = 0
    per_s: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", min(max(self.size, self.least), max(self.most, self.least)))

    def after(self, *, messages: int, took_s: float) -> "Stride":
        """The stride after a batch of so many messages took so long."""
        if messages < self.size:  # the backlog is over
            return replace(self, size=self.size // 2 if took_s > SLOW_S else self.size, per_s=0.0)
        per_s = messages / max(took_s, 1e-9)
        if took_s > SLOW_S:
            size = self.size // 2
        elif took_s < QUICK_S or per_s > PAYS * self.per_s:
            size = self.size * 2
        else:
            size = self.size
        return replace(self, size=size, per_s=max(per_s, self.per_s))


class Batcher:
    """Collects messages until there are enough, or the first has waited enough."""

    def __init__(self, *, max_size: int, max_wait_s: float, max_bytes: int = 32 * 2**20) -> None:
        self._max_size = max_size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._max_wait_s = max_wait_s
        self._messages: list[Message] = []
        self._began_s: float | None = None

    def widen(self, max_size: int) -> None:
        """From now on a batch has so many messages at most."""
        self._max_size = max_size

    @property
    def room(self) -> int:
        """How many more messages fit."""
        return self._max_size - len(self._messages)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come."""
        return not self._messages

    def add(self, messages: Sequence[Message], *, now_s: float) -> None:
        """Take messages in the order of their log; `now_s` is on any steady clock."""
        if messages and self._began_s is None:
            self._began_s = now_s
        self._messages += messages
        self._bytes += sum(len(one.key or b"") + len(one.value or b"") for one in messages)

    def wait_s(self, *, now_s: float, idle_s: float) -> float:
        """How long to wait for more: until the deadline, or `idle_s` while there is nothing."""
        if self._began_s is None:
            return idle_s
        return max(0.0, self._began_s + self._max_wait_s - now_s)

    def is_due(self, *, now_s: float) -> bool:
        """Whether the batch is closed."""
        full = self.room <= 0 or self._bytes >= self._max_bytes
        return full or (self._began_s is not None and now_s >= self._began_s + self._max_wait_s)

    def take(self) -> Batch:
        """Return what there is and start anew."""
        batch = Batch(tuple(self._messages))
        self._messages, self._began_s, self._bytes = [], None, 0
        return batch
