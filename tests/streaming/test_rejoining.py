"""What kafka-python forgets or does not tell about a membership, on a real Apache Kafka."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from kafka.admin import MemberToRemove

from streaming.change_log import Message, Outgoing
from streaming.errors import Evicted, LogUnavailable, OwnershipLost, Refused
from streaming.kafka import KafkaChangeLog, KafkaMessageSink
from streaming.kafka_client import administering

from .making import change_json
from .members import GIVE_UP_S, eventually, joined

pytestmark = pytest.mark.kafka

COUNT = 12
SESSION_S = 12.0


@pytest.fixture
def topic(topic: str, sink: KafkaMessageSink) -> str:
    """A topic with some changes."""
    sink.send(
        [Outgoing(topic=topic, key=f"p-{n}".encode(), value=change_json(f"p-{n}")) for n in range(COUNT)]
    )
    return topic


@pytest.fixture
def join(connection: dict[str, Any], topic: str) -> Iterator[Callable[..., KafkaChangeLog]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            closing(joined(connection, topic, session_timeout_s=SESSION_S, **options))
        )


def polled(changes: KafkaChangeLog, *, until: Callable[[list[Message]], bool]) -> list[Message]:
    """What came by then."""
    found: list[Message] = []
    give_up_s = time.monotonic() + GIVE_UP_S
    while not until(found):
        assert time.monotonic() < give_up_s, f"{len(found)} messages in {GIVE_UP_S:g} s"
        found += changes.poll(timeout_s=0.1, max_messages=100)
    return found


def all_of_them(found: list[Message]) -> bool:
    return len(found) >= COUNT


def test_whoever_is_given_up_while_it_rejoins_begins_from_what_was_acknowledged(
    connection: dict[str, Any], topic: str, join: Callable[..., KafkaChangeLog]
) -> None:
    """The client keeps its place then and tells nobody; another may have had the partitions meanwhile."""
    changes = join()
    first = polled(changes, until=all_of_them)
    ours = {message.source for message in first}
    changes.hold(ours)
    member = changes._membership.name
    with administering(connection) as admin:
        admin.remove_group_members(f"group-{topic}", [MemberToRemove(member_id=member)])
    changes._client._coordinator.request_rejoin()  # as where another joins

    again = polled(changes, until=lambda _found: changes._membership.name not in ("", member))
    with pytest.raises(OwnershipLost):
        changes.check()
    with pytest.raises(Evicted):
        changes.commit({message.source: message.offset + 1 for message in first})
    again += polled(changes, until=lambda found: all_of_them(again + found))

    assert {(one.source, one.offset) for one in first} == {(one.source, one.offset) for one in again}
    assert all(changes.owns(one) for one in ours)
    changes.commit({message.source: message.offset + 1 for message in again})


def test_whoever_is_replaced_writes_nothing_more_and_says_so(join: Callable[..., KafkaChangeLog]) -> None:
    """Two consumers were given one instance id; the client of the first falls silent and waits for ever."""
    ours = join(instance_id="one")
    first = polled(ours, until=all_of_them)
    ours.hold({message.source for message in first})
    ours.check()
    theirs = join(instance_id="one")
    begun = polled(theirs, until=lambda _found: bool(theirs.assigned()))
    eventually(lambda: ours._membership.replaced)

    with pytest.raises(OwnershipLost):
        ours.check()
    with pytest.raises(Evicted):
        ours.commit({message.source: message.offset + 1 for message in first})
    with pytest.raises(Refused, match="took our place; give each its own CONSUMER_INSTANCE_ID"):
        ours.poll(timeout_s=0.1, max_messages=1)
    polled(theirs, until=lambda more: all_of_them(begun + more))


@pytest.mark.parametrize("when", ["during a poll", "between two polls"])
def test_a_heartbeat_that_failed_begins_anew(join: Callable[..., KafkaChangeLog], when: str) -> None:
    """The client begins it only when it joins again: a member with nothing to do would be given up."""
    changes = join()
    polled(changes, until=all_of_them)
    coordinator = changes._client._coordinator
    send = coordinator._send_heartbeat_request
    failed_at: list[float] = []
    told: list[str] = []

    async def fail() -> None:
        coordinator._send_heartbeat_request = send
        failed_at.append(time.monotonic())
        raise OSError("no more sockets")

    def beats_again() -> bool:
        try:
            changes.poll(timeout_s=0.1, max_messages=100)
        except LogUnavailable as error:  # the poll that it fails in says so; before another it is mended
            told.append(str(error))
        return bool(failed_at) and coordinator.heartbeat.last_receive > failed_at[0]

    coordinator._send_heartbeat_request = fail
    if when == "between two polls":
        eventually(lambda: bool(failed_at))
    eventually(beats_again, ask_every_s=0.0)

    assert all("no more sockets" in one for one in told)
    assert changes.silent_s() < changes._membership.session_s
    assert 2 == len(changes.assigned())
