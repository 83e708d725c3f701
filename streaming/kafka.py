"""Kafka, for the rest of the room: the only file, with `kafka_client`, that knows its client.

Bytes in and bytes out: a deserializer that raises makes kafka-python's fetch
loop spin for ever. Its errors stop here. Commits are explicit, with a timeout,
on the caller's thread. The rebalance listener notes what is taken away, after
the work at hand is done: two owners writing at once could set a row back.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka import errors as failures
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from .change_log import Message, Offsets, Partition
from .errors import Evicted, LogUnavailable, OwnershipLost, Refused
from .kafka_client import (
    COMMIT_TIMEOUT_MS,
    METADATA_TIMEOUT_MS,
    Connection,
    Membership,
    acknowledged,
    consumer,
    in_our_words,
    key_of,
    messages_of,
    translated,
)
from .kafka_reader import KafkaTopicReader
from .kafka_topics import broker_answers, ensure_topics
from .kafka_writer import KafkaMessageSink

__all__ = ["KafkaChangeLog", "KafkaMessageSink", "KafkaTopicReader", "broker_answers", "ensure_topics"]

REJOIN_S = 0.5  # a rejoin must begin and end within one poll
REVOKE_BUDGET = 0.2  # of the poll interval: so long a rebalance waits for the work at hand


class _Fetched(NamedTuple):
    """A message, and how often its partition had been taken away from us before."""

    message: Message
    key: TopicPartition
    taken: int


class KafkaChangeLog:
    """A member of a consumer group.

    Whoever works longer than `max_poll_interval_s` on a batch must `pause` and call
    `heartbeat` meanwhile. Heartbeats to the broker come from the client's own thread.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        *,
        group: str,
        instance_id: str | None = None,
        session_timeout_s: float = 10.0,
        max_poll_interval_s: float = 300.0,
    ) -> None:
        self._early: list[_Fetched] = []
        self._paused = False
        self._working: Callable[[], bool] = lambda: False
        # How often a partition was taken away, and the count when it was last polled.
        self._taken: dict[TopicPartition, int] = {}
        self._polled_at: dict[TopicPartition, int] = {}
        self._held: list[Partition] = []
        self._lost: set[TopicPartition] = set()  # without being asked for them first
        self._connection, self._topics, self._group = connection, topics, group
        with translated(f"joining group {group!r}", connection):
            self._client = consumer(
                connection,
                group,
                group_instance_id=instance_id,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                max_poll_records=2048,
                max_poll_interval_ms=int(max_poll_interval_s * 1000),
                session_timeout_ms=int(session_timeout_s * 1000),
                heartbeat_interval_ms=int(session_timeout_s * 1000 / 4),
            )
            self._membership = Membership(self._client, session_s=session_timeout_s)
            self._name = ""  # what the group called us when we polled last
            self._instance_id = instance_id
            budget_s = max_poll_interval_s * REVOKE_BUDGET
            self._listener = _Listener(self._taken, self._lost, self._done, budget_s)
            self._client.subscribe(list(topics), listener=self._listener)

    def poll(self, *, timeout_s: float, max_messages: int) -> list[Message]:
        """What came, in order per partition; empty after the time."""
        if self._membership.replaced:
            raise Refused(
                f"another consumer joined group {self._group!r} as {self._instance_id!r} and took our place; "
                "give each its own CONSUMER_INSTANCE_ID, or none"
            )
        # A partition that was taken away meanwhile is read anew from what was acknowledged.
        early = [one for one in self._early if one.taken == self._taken.get(one.key, 0)]
        fetched, self._early = early[:max_messages], early[max_messages:]
        if not fetched:
            fetched = self._fetch(timeout_s, max_messages)
        self._polled_at.update({one.key: one.taken for one in fetched})
        return [one.message for one in fetched]

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge; only what is still ours since it was polled."""
        give_up_at = time.monotonic() + COMMIT_TIMEOUT_MS / 1000
        while True:
            ours = {one: offset for one, offset in offsets.items() if self.owns(one)}
            chosen = acknowledged(ours)
            try:
                if chosen:
                    self._client.commit(chosen, timeout_ms=COMMIT_TIMEOUT_MS)
                break
            except failures.RebalanceInProgressError as error:
                if time.monotonic() > give_up_at:
                    raise OwnershipLost("the group did not settle in time") from error
                self._settle()
            except failures.KafkaError as error:
                raise in_our_words(error, "committing") from error
        if not self._still_known() or any(key_of(one) in self._lost for one in offsets.keys() - ours.keys()):
            raise Evicted("the group gave this member up meanwhile")
        if len(ours) < len(offsets):
            raise OwnershipLost(f"{len(offsets) - len(ours)} of {len(offsets)} partitions were taken over")

    def assigned(self) -> list[Partition]:
        """The partitions that are ours now, sorted; the client answers any thread with a copy."""
        return sorted(Partition(key.topic, key.partition) for key in self._client.assignment())

    def owns(self, partition: Partition) -> bool:
        """Whether it has been ours without a break since it was last polled."""
        key = key_of(partition)
        unbroken = self._polled_at.get(key) == self._taken.get(key, 0) and self._still_known()
        return unbroken and key in self._client.assignment()

    def hold(self, partitions: Iterable[Partition]) -> None:
        """Work on these begins, and ends on all others."""
        self._held = list(partitions)
        self._lost.difference_update(map(key_of, self._held))

    def check(self) -> None:
        """Raise where another may have what we hold: a process may have been frozen, or cut off."""
        if lost := [one for one in self._held if not self.owns(one)]:
            raise OwnershipLost(f"{len(lost)} of {len(self._held)} partitions were taken over")
        if self._held and self._membership.silent_s > self._membership.session_s:
            raise LogUnavailable("the group has not heard from us for longer than a session: no writing now")

    def silent_s(self) -> float:
        """For how long the group has not heard from us."""
        return self._membership.silent_s

    def since(self, offsets: Offsets) -> Iterator[list[Message]]:
        """What these partitions hold from there to their ends, whoever has them."""
        with closing(KafkaTopicReader(self._connection, self._topics, group=self._group)) as reader:
            ends = {}
            for partition in reader.partitions():
                end = reader.bounds(partition)[1]
                reader.seek(partition, offsets.get(partition, end))
                if offsets.get(partition, end) < end:
                    ends[partition] = end
            while ends:
                messages = reader.poll(timeout_s=1.0, max_messages=2_000)
                yield messages
                for one in messages:
                    if one.offset + 1 >= ends.get(one.source, 0):
                        ends.pop(one.source, None)

    def read_ahead(self, working: Callable[[], bool], *, max_messages: int) -> None:
        """Take what is there already for a later poll; a rebalance waits for the work, within its budget."""
        self._working = working
        if (room := max_messages - len(self._early)) > 0:
            self._early += self._fetch(0.0, room)

    def pause(self, working: Callable[[], bool] = lambda: False) -> None:
        """Take nothing new, stay a member; a rebalance waits for the work, within its budget."""
        self._working = working
        self._paused = True
        self._client.pause(*self._client.assignment())

    def heartbeat(self) -> None:
        """Poll without taking; what a new partition brings is kept for later."""
        self._early += self._fetch(0.05, None)
        if self._paused:  # partitions assigned meanwhile are not paused
            self._client.pause(*self._client.assignment())

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False
        self._client.resume(*self._client.paused())

    def close(self) -> None:
        """Leave the group at once, so that others need not wait for the session's end."""
        self._working = lambda: False  # whoever closes has ended
        with translated("leaving the group"):
            self._client.close(autocommit=False, timeout_ms=COMMIT_TIMEOUT_MS)

    async def _done(self, within_s: float) -> None:
        """Return when nobody works; on the client's own thread, whose clock this sleeps by."""
        give_up_at = time.monotonic() + within_s
        while self._working() and time.monotonic() < give_up_at:
            await self._client._net.sleep(0.02)

    def _settle(self) -> None:
        """The group is meeting: a poll joins it."""
        was_paused = self._paused
        self.pause()
        self.heartbeat()
        if not was_paused:
            self.resume()

    def _still_known(self) -> bool:
        return self._membership.name == self._name and not self._membership.replaced

    def _is_another(self) -> bool:
        """The group gave us up and took us in again: what we have may have been another's meanwhile.

        Where the client hears of that before it rejoins, it forgets what it had. Where it hears
        while it rejoins, it goes on from where it stood, which nobody may have acknowledged.
        """
        name, before = self._membership.name, self._name
        if not name or name == before:
            return False
        kept = self._client.assignment() if before else ()
        self._listener.note_lost(kept)
        for key in kept:
            offset = self._client.committed(key, timeout_ms=METADATA_TIMEOUT_MS)
            if offset is None or offset < 0:
                self._client.seek_to_beginning(key)
            else:
                self._client.seek(key, offset)
        self._name = name  # only now: whoever did not come so far tries again
        return bool(before)

    def _fetch(self, timeout_s: float, max_messages: int | None) -> list[_Fetched]:
        if self._membership.mend():
            timeout_s = max(timeout_s, REJOIN_S)
        with translated("polling"):
            records = self._client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_messages)
            if self._is_another():
                return []
        # After the poll: it may lose a partition, get it back and read it, all in one call.
        # What it returns has been passed by its position, so it must never be thrown away.
        taken = dict(self._taken)
        return [
            _Fetched(message, key, taken.get(key, 0))
            for key, held in records.items()
            for message in messages_of(held)
        ]


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc] # the client has no types
    """Runs on the client's network thread: it may wait by awaiting, note, and nothing else."""

    def __init__(
        self,
        taken: dict[TopicPartition, int],
        lost: set[TopicPartition],
        done: Callable[..., Any],
        budget_s: float,
    ) -> None:
        self._taken, self._lost, self._done, self._budget_s = taken, lost, done, budget_s

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        if revoked:  # another gets them when this returns
            await self._done(self._budget_s)
        self._note(revoked)

    async def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self.note_lost(lost)

    def note_lost(self, lost: Collection[TopicPartition]) -> None:
        self._lost.update(lost)
        self._note(lost)

    def _note(self, gone: Collection[TopicPartition]) -> None:
        for key in gone:
            self._taken[key] = self._taken.get(key, 0) + 1

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        pass
