"""Reading a request's body, and no more of it, and no longer, than is good."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from .problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_WITHIN_S = 30.0
_CLOSE = {"connection": "close"}
# What is too large is read to its end, and thrown away, up to here: a client that is still
# sending could not read the answer. Beyond, the connection is closed in its face.
THROW_AWAY_BYTES = 128 * 2**20


class ClientGone(Exception):
    """The client went away before its request was read."""


def header(scope: Scope, name: bytes) -> str:
    """The header's value; empty without one."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def check_small(scope: Scope, *, at_most: int) -> None:
    """Refuse a body that is large, or does not say how large it is, before it is read.

    Raises:
        Problem: too large (413), or of unknown length (411).
    """
    if header(scope, b"transfer-encoding"):
        raise Problem(411, "the body does not say its length; send content-length", headers=_CLOSE)
    length = header(scope, b"content-length") or "0"
    if not length.isdigit() or int(length) > at_most:
        raise Problem(
            413,
            f"the body has {length[:20]} bytes, at most {at_most} are read; make it smaller",
            headers=_CLOSE,
        )


async def read_body(scope: Scope, receive: Receive, *, at_most: int, what: str) -> bytes:
    """The whole body.

    Raises:
        Problem: too large (413), too slow (408), or compressed (415).
        ClientGone: it never came.
    """
    if header(scope, b"content-encoding") not in ("", "identity"):
        raise Problem(
            415,
            f"content-encoding is {header(scope, b'content-encoding')!r}, bodies are read as they are; "
            "send it uncompressed",
        )
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        if len(body) <= at_most:
            return body
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await _read_on(message, receive, at_most=at_most, what=what)
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not come within {BODY_WITHIN_S:.0f} s; send it at once",
            headers=_CLOSE,
        ) from None


async def _read_on(message: Message, receive: Receive, *, at_most: int, what: str) -> bytes:
    parts: list[bytes] = []
    length = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        length += len(part)
        if length <= at_most:
            parts.append(part)
        if not message.get("more_body") or length > THROW_AWAY_BYTES:
            break
        message = await receive()
    if length > at_most:
        ended = not message.get("more_body")
        said = f"{length} bytes" if ended else f"more than {length} bytes"
        raise Problem(
            413,
            f"{what} has {said}, at most {at_most} are read; make it smaller",
            headers={} if ended else _CLOSE,
        )
    return b"".join(parts)
