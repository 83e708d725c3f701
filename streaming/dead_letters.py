"""What cannot be used is set aside whole, with the reason, and can be put back.

A dead letter keeps the original key, value and headers; what happened is told
in headers of its own, so that nothing has to be parsed to read it.
"""

from datetime import datetime

from .change_log import Message, MessageSink, Offsets, Outgoing, TopicReader

SUFFIX = ".dead"
PREFIX = "dead."


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
    return Outgoing(topic=message.topic + SUFFIX, key=message.key, value=message.value, headers=kept + ours)


def revive(message: Message) -> Outgoing:
    """Return the original, for the topic it came from."""
    told = dict(message.headers)
    topic = told.get(PREFIX + "topic", message.topic.removesuffix(SUFFIX).encode()).decode()
    kept = tuple(header for header in message.headers if not header[0].startswith(PREFIX))
    return Outgoing(topic=topic, key=message.key, value=message.value, headers=kept)


def replay(reader: TopicReader, sink: MessageSink, *, max_messages: int = 500) -> int:
    """Put back what is set aside and was not put back before; return how many.

    Stops at the end as it was at the start, so that a message that fails again
    is not put back for ever. Older versions cannot win: the index is guarded.
    """
    ends = {}
    for partition in reader.partitions():
        first, end = reader.bounds(partition)
        start = max(first, reader.committed(partition) or 0)
        reader.seek(partition, start)
        if start < end:
            ends[partition] = end
    put_back = 0
    while ends:
        messages = [
            message
            for message in reader.poll(timeout_s=1.0, max_messages=max_messages)
            if message.offset < ends.get(message.source, 0)
        ]
        if not messages:  # the broker is slow, or has dropped them: the next replay goes on from here
            break
        sink.send([revive(message) for message in messages])
        done: Offsets = {message.source: message.offset + 1 for message in messages}
        reader.commit(done)  # only now
        ends = {partition: end for partition, end in ends.items() if done.get(partition, 0) < end}
        put_back += len(messages)
    return put_back
