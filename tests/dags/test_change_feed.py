"""A rebuild reads the stream again: the same promises on the twin and on a real Kafka."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dags._change_feed import EMPTY_POLLS, TopicFeed
from product_index.errors import ChangesLost, InvalidSettings
from streaming.change_log import MessageSink, Outgoing, TopicReader
from streaming.events import decode_change, encode_change
from streaming.in_memory import InMemoryTopicReader, InMemoryTopics
from tests.product_index.rows import change, removal

ROOT = Path(__file__).parents[2]
TOPIC = "product-changes"


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def ends(
    request: pytest.FixtureRequest, unique_name: Callable[[str], str]
) -> Iterator[tuple[TopicReader, MessageSink, str]]:
    """A reader and a sink of one topic with two partitions."""
    if request.param == "memory":
        topics = InMemoryTopics(partitions=2, now_ms=lambda: time.time_ns() // 1_000_000)
        yield InMemoryTopicReader(topics, [TOPIC]), topics, TOPIC
        return
    from streaming.kafka import KafkaMessageSink, KafkaTopicReader, ensure_topics

    connection = {"bootstrap_servers": [request.getfixturevalue("kafka_bootstrap")]}
    topic = unique_name(TOPIC)
    ensure_topics(connection, [topic], partitions=2)
    reader, sink = (
        KafkaTopicReader(connection, [topic], group=f"{topic}-rebuild"),
        KafkaMessageSink(connection),
    )
    yield reader, sink, topic
    reader.close()
    sink.close()


def feed_of(ends: tuple[TopicReader, MessageSink, str], **options: Any) -> TopicFeed:
    reader, sink, topic = ends
    return TopicFeed(reader, sink, topic, read=decode_change, **options)


def say(ends: tuple[TopicReader, MessageSink, str], *changes: Any) -> None:
    messages = (encode_change(one) for one in changes)
    ends[1].send([Outgoing(topic=ends[2], key=key, value=value) for key, value in messages])


def heard(feed: TopicFeed, marks: dict[str, int]) -> tuple[list[Any], dict[str, int]]:
    changes, reached = [], dict(marks)
    for page, now_at in feed.since(marks, size=7):
        assert len(page) <= 7
        changes += page
        reached = now_at
    return changes, reached


def test_what_came_after_the_mark_is_heard_and_no_more(ends: tuple[TopicReader, MessageSink, str]) -> None:
    """Each product in order; and again from where it ended, there is nothing."""
    feed = feed_of(ends)
    say(ends, *(change(f"old{n}") for n in range(10)))
    marks = feed.mark()
    say(ends, *(change(f"p{n % 5}", version=n + 1) for n in range(40)), removal("p0", version=99))

    changes, reached = heard(feed, marks)

    assert 41 == len(changes)
    for key in ("p0", "p1"):
        versions = [one.version for one in changes if one.product_id == key]
        assert versions == sorted(versions)
    assert ([], feed.mark()) == (heard(feed, reached)[0], reached)
    assert 51 == len(heard(feed, {})[0]), "a partition without a mark is read whole"


def test_a_mark_goes_back_to_a_moment_and_never_forward(ends: tuple[TopicReader, MessageSink, str]) -> None:
    """What was said since a file was written is heard, also what came before the mark."""
    feed = feed_of(ends)
    say(ends, *(change(f"old{n}") for n in range(10)))
    written = datetime.now(UTC) + timedelta(milliseconds=1)
    while datetime.now(UTC) < written + timedelta(milliseconds=1):
        time.sleep(0.001)  # the log tells time in whole milliseconds
    say(ends, *(change(f"new{n}") for n in range(10)))
    marks = feed.mark()

    since = feed.back_to(written, marks)

    assert {f"new{n}" for n in range(10)} == {one.product_id for one in heard(feed, since)[0]}
    assert {"0": 0, "1": 0} == feed.back_to(written - timedelta(days=9), marks)
    say(ends, *(change(f"later{n}") for n in range(10)))
    assert marks == feed.back_to(written + timedelta(days=9), marks)


def test_what_cannot_be_read_is_passed_over_and_not_waited_for(
    ends: tuple[TopicReader, MessageSink, str],
) -> None:
    """It is a dead letter of the consumer's; a rebuild goes on."""
    feed = feed_of(ends)
    ends[1].send([Outgoing(topic=ends[2], key=b"mug", value=b"{broken")])
    say(ends, change("mug"))

    changes, reached = heard(feed, {"0": 0, "1": 0})

    assert (["mug"], feed.mark()) == ([one.product_id for one in changes], reached)


def test_a_change_is_said_again_as_it_was_said(ends: tuple[TopicReader, MessageSink, str]) -> None:
    """Byte for byte, so that a topic of table rows gets table rows."""
    feed = feed_of(ends, own_form=False)
    say(ends, change("mug", version=3), change("cup", version=4))
    page, _ = next(iter(feed.since({}, size=50)))
    marks = feed.mark()

    feed.publish(page)

    assert sorted(one.product_id for one in page) == sorted(one.product_id for one in heard(feed, marks)[0])
    with pytest.raises(InvalidSettings, match="CHANGES_MAPPING"):
        feed.publish([change("never said")])


def test_changes_that_the_log_forgot_are_not_passed_over() -> None:
    """A rebuild that outlived the topic's retention must not be served."""
    topics = InMemoryTopics(partitions=1)
    reader = InMemoryTopicReader(topics, [TOPIC])
    reader.bounds = lambda partition: (5, 9)  # type: ignore[method-assign]
    feed = TopicFeed(reader, topics, TOPIC, read=decode_change)

    with pytest.raises(ChangesLost, match=r"product-changes/0 keeps changes from 5 on, those from 3"):
        list(feed.since({"0": 3}, size=5))


def test_a_gap_at_the_end_is_not_waited_for_for_ever() -> None:
    """Where a transaction ended, Kafka has an offset and no message."""
    topics = InMemoryTopics(partitions=1)
    key, value = encode_change(change("mug"))
    topics.send([Outgoing(topic=TOPIC, key=key, value=value)])
    reader = InMemoryTopicReader(topics, [TOPIC])
    reader.bounds = lambda partition: (0, 2)  # type: ignore[method-assign]
    feed = TopicFeed(reader, topics, TOPIC, read=decode_change)

    changes, reached = heard(feed, {"0": 0})

    assert (1, {"0": 2}) == (len(changes), reached)


def test_a_log_that_takes_its_time_is_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is late is none that is not there: a rebuild without it would be served."""
    topics = InMemoryTopics(partitions=1)
    reader = InMemoryTopicReader(topics, [TOPIC])
    feed = TopicFeed(reader, topics, TOPIC, read=decode_change)
    say((reader, topics, TOPIC), change("mug"))
    prompt, late = reader.poll, [[]] * (EMPTY_POLLS - 1)
    monkeypatch.setattr(reader, "poll", lambda **asked: late.pop() if late else prompt(**asked))

    assert ["mug"] == [one.product_id for one in heard(feed, {"0": 0})[0]]


def test_without_kafka_it_says_so_and_goes_on(tmp_path: Path) -> None:
    code = "from dags._change_feed import open_feed\nwith open_feed() as feed: print(feed)"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ["KAFKA_BOOTSTRAP is not set", "None"] == [
        line.partition(":")[0] for line in done.stdout.splitlines()
    ]
