"""What cannot be used is set aside whole, with the reason, and can be put back.

A dead letter keeps the original key, value and headers; what happened is told
in headers of its own, so that nothing has to be parsed to read it. What is too
large to be kept whole is cut, says so, and lies whole where it was read.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from .change_log import Message, MessageSink, Outgoing, TopicReader
from .errors import Refused

SUFFIX = ".dead"
PREFIX = "dead."
CUT = PREFIX + "cut"
# Twice what is read as a change: larger ones are kept by their beginning alone.
KEPT_BYTES = 2 * 2**20
CUT_TO_BYTES = 4 * 2**10
# So large a message its topic and its writer take: it must fit where the original did.
MOST_BYTES = 10 * 2**20

log = structlog.get_logger()


def dead_letter(message: Message, *, stage: str, reason: str, now: datetime) -> Outgoing:
    """Return the message as it is set aside.

    The stage is where it failed, `decode` or `embed`; the reason one sentence
    that a person can act on.
    """
    told = {
        "stage": stage,
        "reason": reason,
        "topic": message.topic,
        "partition": str(message.partition),
        "offset": str(message.offset),
        "timestamp_ms": str(message.timestamp_ms),
        "at": now.isoformat(),
    }
    ours = tuple((PREFIX + name, text.encode("utf-8", "replace")) for name, text in told.items())
    kept = tuple(header for header in message.headers if not header[0].startswith(PREFIX))
    whole = Outgoing(topic=message.topic + SUFFIX, key=message.key, value=message.value, headers=kept + ours)
    held = [message.key or b"", message.value or b"", *(value for _name, value in kept)]
    return whole if sum(map(len, held)) <= KEPT_BYTES else cut(whole)


def cut(letter: Outgoing) -> Outgoing:
    """Return a dead letter that surely fits: the beginning of it, its size and its SHA-256.

    The whole message lies at `dead.topic`, `dead.partition`, `dead.offset` for
    as long as that topic keeps it.
    """
    value = letter.value or b""
    told = f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}"
    ours = [header for header in letter.headers if header[0].startswith(PREFIX) and header[0] != CUT]
    return replace(
        letter,
        key=None if letter.key is None else letter.key[:CUT_TO_BYTES],
        value=None if letter.value is None else value[:CUT_TO_BYTES],
        headers=(*ours, (CUT, told.encode())),
    )


def write(dead: Sequence[Outgoing], sink: MessageSink) -> None:
    """Write dead letters; where one is too large for the log, the beginning of each."""
    try:
        sink.send(dead)
    except Refused as error:
        log.warning("dead_letters_cut", reason=str(error))
        sink.send([cut(letter) for letter in dead])


def revive(message: Message) -> Outgoing:
    """Return the original, for the topic it came from."""
    told = dict(message.headers)
    topic = told.get(PREFIX + "topic", message.topic.removesuffix(SUFFIX).encode()).decode()
    kept = tuple(header for header in message.headers if not header[0].startswith(PREFIX))
    return Outgoing(topic=topic, key=message.key, value=message.value, headers=kept)


def replay(reader: TopicReader, sink: MessageSink, *, max_messages: int = 500) -> int:
    """Put back what is set aside and was not put back before; return how many.

    One that was cut is passed over, with a line in the log: publish it anew.
    Older versions cannot win: the index is guarded.
    """
    put_back = 0
    for page in waiting(reader, max_messages=max_messages):
        whole = [message for message in page if not _is_cut(message)]
        sink.send([revive(message) for message in whole])
        reader.commit({message.source: message.offset + 1 for message in page})  # only now
        put_back += len(whole)
    return put_back


def waiting(reader: TopicReader, *, max_messages: int = 500) -> Iterator[list[Message]]:
    """Pages of what is set aside and was not put back, up to the end as it was at the start.

    So a message that fails again is not put back for ever.
    """
    ends = {}
    for partition in reader.partitions():
        first, end = reader.bounds(partition)
        start = max(first, reader.committed(partition) or 0)
        reader.seek(partition, start)
        if start < end:
            ends[partition] = end
    while ends:
        page = [
            message
            for message in reader.poll(timeout_s=1.0, max_messages=max_messages)
            if message.offset < ends.get(message.source, 0)
        ]
        if not page:  # the broker is slow, or has dropped them: the next call goes on from here
            return
        yield page
        reached = {message.source: message.offset + 1 for message in page}
        ends = {partition: end for partition, end in ends.items() if reached.get(partition, 0) < end}


def account(message: Message) -> dict[str, str]:
    """What a dead letter tells of itself: whose it is, where it failed, why, when, and where it lies."""
    told = {
        name.removeprefix(PREFIX): value.decode("utf-8", "replace")
        for name, value in message.headers
        if name.startswith(PREFIX)
    }
    return {"key": (message.key or b"").decode("utf-8", "replace")} | told


def _is_cut(message: Message) -> bool:
    told = dict(message.headers)
    if CUT not in told:
        return False
    log.warning(
        "not_put_back",
        reason="only its beginning was kept; correct the source and publish it anew",
        partition=message.partition,
        offset=message.offset,
        **{name: told[PREFIX + name].decode() for name in ("topic", "stage") if PREFIX + name in told},
        was=told[CUT].decode(),
    )
    return True
