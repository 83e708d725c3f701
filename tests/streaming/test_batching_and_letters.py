"""Batches close in time; letters come back as they were; lines are checked before they are sent."""

from dataclasses import replace

import pytest

from streaming.batching import SLOW_S, Batcher, Stride
from streaming.change_log import Message, Outgoing, Partition
from streaming.dead_letters import SUFFIX, account, dead_letter, replay, waiting
from streaming.errors import Unreadable
from streaming.freshness import percentile
from streaming.in_memory import InMemoryTopicReader, InMemoryTopics
from streaming.publishing import publish

from .making import NOON, TOPIC, change_json


def message(offset: int, *, partition: int = 0) -> Message:
    return Message(
        topic=TOPIC, partition=partition, offset=offset, key=b"k", value=b"v", headers=(("a", b"1"),)
    )


def test_a_batch_closes_by_its_first_messages_deadline() -> None:
    """The first message waits for company, but not for ever."""
    batcher = Batcher(max_size=3, max_wait_s=0.5)
    assert 9.0 == batcher.wait_s(now_s=0.0, idle_s=9.0)

    batcher.add([message(4)], now_s=1.0)

    assert not batcher.is_due(now_s=1.4)
    assert 0.25 == batcher.wait_s(now_s=1.25, idle_s=9.0)
    assert batcher.is_due(now_s=1.5)
    assert {Partition(TOPIC, 0): 5} == batcher.take().offsets
    assert not batcher.is_due(now_s=99.0)


def test_a_batch_closes_when_it_is_full() -> None:
    """Size and deadline, whichever is first."""
    batcher = Batcher(max_size=2, max_wait_s=99.0)

    batcher.add([message(0), message(7, partition=1)], now_s=0.0)

    assert batcher.is_due(now_s=0.0)
    assert {Partition(TOPIC, 0): 1, Partition(TOPIC, 1): 8} == batcher.take().offsets


@pytest.mark.parametrize(
    ("once_s", "each_s", "settles_at"),
    [
        pytest.param(0.01, 0.0005, 1024, id="prices on a store nearby"),
        pytest.param(0.75, 0.0002, 1024, id="prices on a store far away"),
        pytest.param(0.05, 0.01, 128, id="an encoder at work"),
        pytest.param(0.0, 0.1, 64, id="a slow encoder"),
    ],
)
def test_a_backlog_takes_larger_batches_where_that_pays(
    once_s: float, each_s: float, settles_at: int
) -> None:
    """A request's own time is shared by its rows; time that each row takes is not."""
    stride = Stride(least=64, most=1024)
    took_s = []

    for _ in range(20):
        took_s.append(once_s + each_s * stride.size)
        stride = stride.after(messages=stride.size, took_s=took_s[-1])

    assert settles_at == stride.size
    assert max(took_s[10:]) <= max(SLOW_S, once_s + 64 * each_s)


def test_replay_puts_each_letter_back_once_as_it_was() -> None:
    """The original, without our headers; a second replay finds nothing."""
    topics = InMemoryTopics()
    for offset in range(5):
        letter = dead_letter(message(offset), stage="decode", reason="a ☕ reason", now=NOON)
        topics.append(letter)
        assert TOPIC + SUFFIX == letter.topic

    counts = [replay(InMemoryTopicReader(topics, [TOPIC + SUFFIX]), topics, max_messages=2) for _ in range(2)]

    assert [5, 0] == counts
    back = topics.messages(TOPIC)
    assert [(b"k", b"v", (("a", b"1"),))] * 5 == [(one.key, one.value, one.headers) for one in back]


def test_what_waits_is_told_without_being_put_back() -> None:
    """As often as anybody asks; what is not text is told, too."""
    topics = InMemoryTopics()
    reader = InMemoryTopicReader(topics, [TOPIC + SUFFIX])
    topics.append(replace(dead_letter(message(3), stage="embed", reason="a reason", now=NOON), key=b"\xff"))

    for _ in range(2):
        (page,) = waiting(reader)
        told = account(page[0])
        assert ("\ufffd", "embed", "a reason", TOPIC, "3") == tuple(
            told[name] for name in ("key", "stage", "reason", "topic", "offset")
        )
    assert [] == topics.messages(TOPIC)


def test_a_letter_that_fails_again_names_only_its_last_failure() -> None:
    """Headers of an earlier failure must not pile up."""
    first = dead_letter(message(1), stage="decode", reason="first", now=NOON)
    again = Message(
        topic=TOPIC, partition=0, offset=9, key=first.key, value=first.value, headers=first.headers
    )

    second = dead_letter(again, stage="embed", reason="second", now=NOON)

    assert [b"second"] == [value for name, value in second.headers if name == "dead.reason"]


def test_publishing_stops_at_the_first_bad_line_and_names_it() -> None:
    """Bad lines are the producer's to mend."""
    topics = InMemoryTopics()

    with pytest.raises(Unreadable, match="line 3: op is 'patch'"):
        publish([change_json("a"), b"\n", change_json("b", op="patch")], topics, topic=TOPIC)


def test_publishing_keys_by_product_and_hears_of_progress() -> None:
    """One partition keeps the order of a product."""
    topics = InMemoryTopics()
    told: list[int] = []

    count = publish((change_json(f"p-{n}") for n in range(1200)), topics, topic=TOPIC, told=told.append)

    assert (1200, [500, 500, 200]) == (count, told)
    assert {f"p-{n}".encode() for n in range(1200)} == {one.key for one in topics.messages(TOPIC)}


def test_publishing_as_is_sends_poison_for_a_trial() -> None:
    """The demo shows what becomes of a bad message; it needs one."""
    topics = InMemoryTopics()

    publish([b"not json", b'{"product_id": "x"}'], topics, topic=TOPIC, as_is=True)

    assert {(None, b"not json"), (b"x", b'{"product_id": "x"}')} == {
        (one.key, one.value) for one in topics.messages(TOPIC)
    }


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: int) -> None:
    """By nearest rank: no figure that nothing took."""
    assert value == percentile(range(1, 101), share)


def test_the_twin_keeps_a_key_in_one_partition() -> None:
    """As a broker does."""
    topics = InMemoryTopics(partitions=5)

    kept = {topics.append(Outgoing(topic="t", key=b"same", value=None)).partition for _ in range(10)}

    assert 1 == len(kept)
