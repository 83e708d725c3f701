"""Changes from JSON lines to the log, checked before they are sent.

A line that breaks the contract stops the publishing at that line: a producer
that lets bad lines through only moves the work to whoever reads dead letters.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from .change_log import MessageSink, Outgoing
from .errors import Unreadable
from .events import change_from_json

# Few enough that progress is seen, many enough that waiting for answers costs little.
CHUNK = 500


def publish(
    lines: Iterable[bytes],
    sink: MessageSink,
    *,
    topic: str,
    as_is: bool = False,
    told: Callable[[int], object] = lambda _count: None,
) -> int:
    """Publish one change per line and return how many; blank lines are passed over.

    The log has answered for all of them on return. With `as_is` nothing is
    checked: for trying what a consumer does with bad messages. `told` hears how
    many more have been answered for.

    Raises:
        Unreadable: naming the line; those before it may have been published.
    """
    published = 0
    messages = _messages(lines, topic=topic, as_is=as_is)
    while chunk := list(islice(messages, CHUNK)):
        sink.send(chunk)
        published += len(chunk)
        told(len(chunk))
    return published


def _messages(lines: Iterable[bytes], *, topic: str, as_is: bool) -> Iterator[Outgoing]:
    for number, line in enumerate(lines, start=1):
        value = line.strip()
        if not value:
            continue
        if as_is:
            yield Outgoing(topic=topic, key=_key_of(value), value=value)
            continue
        try:
            key = change_from_json(value).product_id.encode()
        except Unreadable as error:
            raise Unreadable(f"line {number}: {error}") from error
        yield Outgoing(topic=topic, key=key, value=value)


def _key_of(value: bytes) -> bytes | None:
    """The product id, where one can be read."""
    try:
        product_id = json.loads(value)["product_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return product_id.encode("utf-8", "replace") if isinstance(product_id, str) else None
