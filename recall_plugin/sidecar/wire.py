"""What goes over the socket: a length, then a message in MessagePack.

Times are on the monotonic clock, which processes of one machine share. Where
they do not (a sidecar in a container with a clock of its own), the time that
was left when the question was sent counts instead.
"""

import socket
import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from product_index.vector_store import Filter
from recall_plugin.channels.state import ChannelState
from recall_plugin.errors import BadMessage
from recall_plugin.query import MAX_IMAGE_BYTES, ChannelAnswer, ChannelRequest, Query

# Rises when either side would misread the other.
WIRE = 1
# The largest message is a question with an image.
MAX_MESSAGE_BYTES = MAX_IMAGE_BYTES + 1_000_000
# A question on its way for longer than this was sent by another clock.
_SAME_CLOCK_WITHIN_S = 60.0

_LENGTH = struct.Struct(">I")
_READ_AT_ONCE = 1 << 18


class Ask(msgspec.Struct, array_like=True, frozen=True, tag="ask"):
    """A question to a channel."""

    wire: int
    channel: str
    text: str | None
    image: bytes | None
    similar_to: str | None
    filters: Filter | None
    page: int
    limit: int
    request_id: str
    unit_id: str
    sent_s: float
    deadline_s: float

    def request(self, *, now_s: float) -> ChannelRequest:
        """What the channel is asked."""
        same_clock = 0 <= now_s - self.sent_s < _SAME_CLOCK_WITHIN_S
        deadline_s = self.deadline_s if same_clock else now_s + self.deadline_s - self.sent_s
        query = Query(
            text=self.text,
            image=self.image,
            similar_to=self.similar_to,
            filters=self.filters,
            limit=self.page,
        )
        return ChannelRequest(
            query=query,
            limit=self.limit,
            deadline_s=deadline_s,
            request_id=self.request_id,
            unit_id=self.unit_id,
        )


class Prepare(msgspec.Struct, array_like=True, frozen=True, tag="prepare"):
    """Embed this now: it will be asked soon."""

    wire: int
    channel: str
    text: str | None
    image: bytes | None
    wait_s: float


class Describe(msgspec.Struct, array_like=True, frozen=True, tag="describe"):
    """What runs here?"""

    wire: int


class Described(msgspec.Struct, array_like=True, frozen=True, tag="described"):
    """What runs here."""

    pid: int
    channels: dict[str, ChannelState]


class Answered(msgspec.Struct, array_like=True, frozen=True, tag="answered"):
    """A channel's answer."""

    answer: ChannelAnswer


class Refused(msgspec.Struct, array_like=True, frozen=True, tag="refused"):
    """The message could not be taken."""

    reason: str


ToSidecar = Ask | Prepare | Describe
FromSidecar = Answered | Described | Refused
T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_read_question: Callable[[bytes], ToSidecar] = msgspec.msgpack.Decoder(ToSidecar).decode
_read_reply: Callable[[bytes], FromSidecar] = msgspec.msgpack.Decoder(FromSidecar).decode


def ask(channel: str, request: ChannelRequest, *, now_s: float) -> Ask:
    """The question as a message."""
    query = request.query
    return Ask(
        wire=WIRE,
        channel=channel,
        text=query.text,
        image=query.image,
        similar_to=query.similar_to,
        filters=query.filters,
        page=query.limit,
        limit=request.limit,
        request_id=request.request_id,
        unit_id=request.unit_id,
        sent_s=now_s,
        deadline_s=request.deadline_s,
    )


def question_from(message: bytes) -> ToSidecar:
    """Read what a client sent.

    Raises:
        BadMessage: it is none, or of another version of the wire.
    """
    question = _read(_read_question, message)
    if question.wire != WIRE:
        raise BadMessage(
            f"the plugin speaks wire {question.wire}, the sidecar {WIRE}; install one version on both sides"
        )
    return question


def reply_from(message: bytes) -> FromSidecar:
    """Read what a sidecar sent.

    Raises:
        BadMessage: it is none.
    """
    return _read(_read_reply, message)


def send(over: socket.socket, message: ToSidecar | FromSidecar) -> None:
    """Write one message.

    Raises:
        OSError: the other side is gone, or does not read in time.
    """
    body = _encoder.encode(message)
    over.sendall(_LENGTH.pack(len(body)) + body)


def receive(over: socket.socket, *, wait: Callable[[], None] = lambda: None) -> bytes:
    """Read one message.

    Args:
        over: a connected socket.
        wait: called before each read: it may set a timeout, or raise one.

    Raises:
        OSError: the other side is gone, or it is too late.
        BadMessage: longer than any message is.
    """
    (length,) = _LENGTH.unpack(_exactly(over, _LENGTH.size, wait))
    if length > MAX_MESSAGE_BYTES:
        raise BadMessage(f"a message of {length} bytes was announced, at most {MAX_MESSAGE_BYTES} are read")
    return _exactly(over, length, wait)


def _exactly(over: socket.socket, length: int, wait: Callable[[], None]) -> bytes:
    parts: list[bytes] = []
    missing = length
    while missing:
        wait()
        part = over.recv(min(missing, _READ_AT_ONCE))
        if not part:
            raise ConnectionResetError("the other side has closed the connection")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _read(read: Callable[[bytes], T], message: bytes) -> T:
    try:
        return read(message)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"a message of {len(message)} bytes cannot be read: {error}") from error
