"""What one message may cost: refused with a reason, kept in part, and the stream goes on."""

import hashlib
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from streaming.change_log import Message, Outgoing
from streaming.dead_letters import CUT, CUT_TO_BYTES, KEPT_BYTES, SUFFIX, replay
from streaming.errors import Refused, Unreadable
from streaming.events import MAX_KEY_BYTES, MAX_VALUE_BYTES, decode_change
from streaming.in_memory import InMemoryTopicReader, InMemoryTopics

from .making import TOPIC, Bench, change_json, put

DEAD = TOPIC + SUFFIX


def reason(message: Message) -> str:
    return dict(message.headers)["dead.reason"].decode()


HUGE: dict[str, tuple[bytes | None, bytes, str]] = {
    "50 MB": (b"mug-1", change_json(description="x" * 50_000_000), "the value has 50,000,"),
    "huge key": (b"k" * (MAX_KEY_BYTES + 1), change_json(), f"the key has {MAX_KEY_BYTES + 1:,} bytes"),
    "nested": (b"mug-1", b'{"a":' * 200_000, "is not JSON in UTF-8"),
    "nested a little": (
        b"mug-1",
        b'{"schema_version":' + b"[" * 900 + b"]" * 900 + b"}",
        "schema_version is",
    ),
    "huge title": (
        b"mug-1",
        change_json(title="x" * 200_000),
        "title and description have 200000 characters",
    ),
    "huge number": (b"mug-1", b'{"a": ' + b"9" * 100_000 + b"}", "is not JSON in UTF-8"),
    "null key": (None, change_json(), "the message has no key; key messages by product_id"),
    "other key": (b"cup-2", change_json(), "key 'cup-2' differs from product_id 'mug-1'"),
}


@pytest.mark.parametrize(("key", "value", "said"), HUGE.values(), ids=HUGE.keys())
def test_absurd_messages_are_set_aside_and_their_neighbours_go_on(
    bench: Bench, key: bytes | None, value: bytes, said: str
) -> None:
    """The reason is short, names value and limit, and the batch is acknowledged."""
    put(bench.topics, change_json("before"), key="before")
    bad = bench.topics.append(Outgoing(topic=TOPIC, key=key, value=value))
    put(bench.topics, change_json("after"), key="after")

    totals = bench.run()

    assert {"new": 2, "poison": 1} == totals.by_class
    assert 3 == sum(bench.topics.committed.values())
    (dead,) = bench.topics.messages(DEAD)
    assert said in reason(dead)
    assert len(reason(dead)) < 500
    assert str(bad.offset) == dict(dead.headers)["dead.offset"].decode()


def test_refusing_a_large_message_copies_nothing() -> None:
    """The size is looked at before anything is parsed."""
    message = Message(topic=TOPIC, partition=0, offset=0, key=b"mug-1", value=b"x" * (50 * 2**20))
    tracemalloc.start()
    with pytest.raises(Unreadable, match=f"at most {MAX_VALUE_BYTES:,} are read; send pictures"):
        decode_change(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2**20


def test_what_is_too_large_to_keep_is_cut_says_so_and_is_not_put_back(bench: Bench) -> None:
    """Half a message must not return as if it were whole; where the whole one lies is told."""
    large = b"x" * (KEPT_BYTES + 1)
    put(bench.topics, large)
    put(bench.topics, b"poison")
    bench.run()

    first, second = bench.topics.messages(DEAD)
    told = dict(first.headers)
    assert (CUT_TO_BYTES, b"poison") == (len(first.value or b""), second.value)
    assert f"{len(large)} bytes, sha256 {hashlib.sha256(large).hexdigest()}" == told[CUT].decode()
    assert (TOPIC, "0") == (told["dead.topic"].decode(), told["dead.offset"].decode())
    before = len(bench.topics.messages(TOPIC))
    counts = [replay(InMemoryTopicReader(bench.topics, [DEAD]), bench.topics) for _ in range(2)]
    assert [1, 0] == counts
    assert [b"poison"] == [message.value for message in bench.topics.messages(TOPIC)[before:]]


def test_a_dead_letter_that_the_log_refuses_is_cut_and_the_stream_goes_on(bench: Bench) -> None:
    """A topic made by somebody else may take less than the original and its headers."""
    put(bench.topics, b"x" * 10_000)

    class Narrow(InMemoryTopics):
        def send(self, messages: Sequence[Outgoing]) -> None:
            if any(len(one.value or b"") > 8_000 for one in messages):
                raise Refused("MessageSizeTooLarge")
            super().send(messages)

    sink = Narrow()
    bench.run(sink=sink)

    (dead,) = sink.messages(DEAD)
    assert CUT_TO_BYTES == len(dead.value or b"")
    assert 1 == sum(bench.topics.committed.values())


def test_a_log_that_refuses_any_dead_letter_stops_the_worker(bench: Bench) -> None:
    """Without the right to set aside, passing on would lose the message."""
    put(bench.topics, b"poison")

    class Forbidden(InMemoryTopics):
        def send(self, messages: Sequence[Outgoing]) -> None:
            raise Refused("TopicAuthorizationFailed")

    with pytest.raises(Refused):
        bench.run(sink=Forbidden())

    assert [] == bench.changes.commits


def test_a_batch_closes_by_bytes_so_that_memory_is_bounded(bench: Bench) -> None:
    """Sixty-four messages of a megabyte are not one batch."""
    wide = {"attributes": {f"a{n}": "x" * 900 for n in range(1_000)}}
    for number in range(48):
        put(bench.topics, change_json(f"p-{number}", **wide), key=f"p-{number}")
    sizes: list[int] = []
    poll = bench.changes.poll

    def one_at_a_time(**options: Any) -> list[Message]:
        return poll(**{**options, "max_messages": 1})

    bench.changes.poll = one_at_a_time  # type: ignore[assignment,method-assign]

    def counting(changes: Sequence[Any]) -> Any:
        sizes.append(sum(len(json.dumps(dict(one.product.attributes))) for one in changes))
        return bench.apply(changes)

    from streaming.worker import Pace

    totals = bench.run(apply=counting, pace=Pace(batch_wait_s=60.0))

    assert 48 == totals.messages
    assert len(sizes) > 1
    assert max(sizes) < 34 * 2**20
