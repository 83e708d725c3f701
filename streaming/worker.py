"""The loop that keeps the index up to the change log.

Each round, in this order and no other:

1. collect a batch, by size or deadline (stay in the group while waiting);
2. leave out partitions that were taken away meanwhile: they come to their new
   owner; decode the rest; what cannot be read is set aside with its bytes;
3. apply: one call that decides, embeds and returns once the store has answered;
   while it works, and while store or pictures do not answer, stay in the group;
   right before it writes the share must be ours, and where it was lost in the very
   act, what the log says since is applied again;
4. flush what is set aside, and wait for the log's answer;
5. acknowledge the offsets, last. A crash before this point brings the batch
   again, which changes nothing: rows are keyed by product and guarded by version.

The worker keeps nothing between batches. It knows neither Kafka nor Milvus.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import structlog

from product_index.product import ProductChange

from .applying import Apply, Read, apply_all
from .batching import Batch, Batcher, Stride, Worked
from .change_log import ChangeLog, Message, MessageSink, Offsets, Outgoing
from .dead_letters import dead_letter, write
from .errors import Evicted, LogUnavailable, OwnershipLost, Unreadable
from .events import decode_change
from .freshness import Arrival
from .late_writes import make_good, out_of_touch
from .patience import Patience, Stopped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the worker paces itself.

    Attributes:
        batch_size: of a batch, as long as there is no backlog.
        backlog_batch_size: of one that a backlog of quick work may grow to.
        batch_wait_s: how long the first message of a batch waits for company.
        idle_s: how long one poll waits while there is nothing.
        backoff_s: the first pause when something does not answer; it doubles.
        backoff_max_s: the longest pause.
    """

    batch_size: int = 64
    backlog_batch_size: int = 4096
    batch_wait_s: float = 0.1
    idle_s: float = 0.5
    backoff_s: float = 0.2
    backoff_max_s: float = 10.0


@dataclass(slots=True)
class Totals:
    """What a run has done: messages and acknowledged batches, and changes by class."""

    messages: int = 0
    batches: int = 0
    by_class: Counter[str] = field(default_factory=Counter)


class _Watch:
    """How long each stage of a batch took."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self.laps_s: dict[str, float] = {}
        self._steady_s = steady_s
        self._since_s = steady_s()

    def lap(self, stage: str) -> None:
        now_s = self._steady_s()
        self.laps_s[stage], self._since_s = now_s - self._since_s, now_s


class Worker:
    """Moves changes from the log into the index.

    Args:
        changes: our share of the log.
        sink: where dead letters go.
        apply: brings the index up to some changes; returns once the store has answered. Before and
            after it writes it asks `changes.check`, or another's newer rows may be lost.
        read: what a message says; None where it asks for nothing.
        arrived: told what became searchable, after the acknowledgement.
        worked: told what each batch took.
        now, steady_s, sleep, chance: clock, stop-watch, patience and jitter.
    """

    def __init__(
        self,
        *,
        changes: ChangeLog,
        sink: MessageSink,
        apply: Apply,
        pace: Pace | None = None,
        read: Callable[[Message], ProductChange | None] = decode_change,
        worked: Callable[[Worked], None] = lambda _worked: None,
        arrived: Callable[[Sequence[Arrival]], None] = lambda _arrivals: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Random | None = None,
    ) -> None:
        self._changes = changes
        self._sink = sink
        self._apply = apply
        self._pace = pace or Pace()
        self._read = read
        self._arrived = arrived
        self._worked = worked
        self._now = now
        self._steady_s = steady_s
        self._sleep = sleep
        self._chance = chance or Random()  # noqa: S311 - jitter, no secret

    def run(self, *, stop: Callable[[], bool], max_idle_s: float | None = None) -> Totals:
        """Work until told to stop, or until nothing came for `max_idle_s`.

        Told to stop, it finishes the batch at hand and acknowledges it, unless
        the store is away: then it goes at once and the batch comes again.
        """
        totals = Totals()
        patience = Patience(
            self._changes,
            stop=stop,
            backoff_s=self._pace.backoff_s,
            backoff_max_s=self._pace.backoff_max_s,
            steady_s=self._steady_s,
            sleep=self._sleep,
            chance=self._chance,
        )
        with patience:
            self._run(totals, patience, stop, max_idle_s)
        return totals

    def _run(
        self, totals: Totals, patience: Patience, stop: Callable[[], bool], max_idle_s: float | None
    ) -> None:
        stride = Stride(least=self._pace.batch_size, most=self._pace.backlog_batch_size)
        batcher = Batcher(max_size=stride.size, max_wait_s=self._pace.batch_wait_s)
        busy_at = self._steady_s()
        while not stop():
            batch = self._collect(batcher, stop)
            if batch.messages:
                began_s = self._steady_s()
                patience.ahead = stride.size
                try:
                    self._work_off(batch, patience, totals)
                except Stopped:
                    log.warning("stopped_unacknowledged", messages=len(batch.messages))
                    break
                busy_at = self._steady_s()
                stride = stride.after(messages=len(batch.messages), took_s=busy_at - began_s)
                batcher.widen(stride.size)
            elif max_idle_s is not None and self._steady_s() - busy_at >= max_idle_s:
                break

    def _collect(self, batcher: Batcher, stop: Callable[[], bool]) -> Batch:
        while not stop():
            now_s = self._steady_s()
            wait_s = batcher.wait_s(now_s=now_s, idle_s=self._pace.idle_s)
            try:
                messages = self._changes.poll(timeout_s=wait_s, max_messages=batcher.room)
            except LogUnavailable as error:
                log.warning("log_away", reason=str(error))
                self._sleep(self._pace.backoff_s)
                break
            batcher.add(messages, now_s=self._steady_s())
            if batcher.is_due(now_s=self._steady_s()) or batcher.is_empty:
                break
        return batcher.take()

    def _work_off(self, batch: Batch, patience: Patience, totals: Totals) -> None:
        watch = _Watch(self._steady_s)
        while True:
            batch = self._still_ours(batch)
            self._changes.hold(batch.offsets)
            read, skipped, dead = self._decode(batch.messages)
            watch.lap("decode")
            try:
                applied = apply_all(read, self._applying(patience))
                break
            except OwnershipLost as error:  # before a write, or in the very act
                gone = [one for one in read if not self._changes.owns(one.message.source)]
                self._make_good(gone, str(error), patience)
            except Stopped:
                if reason := out_of_touch(self._changes):
                    self._make_good(read, reason, patience)
                raise
        searchable_at = self._now()
        watch.lap("apply")
        dead += [self._set_aside(one, stage="embed", reason=reason) for one, reason in applied.unusable]
        if dead:
            patience.until_answered(lambda: write(dead, self._sink))
            watch.lap("set_aside")
        acknowledged = self._acknowledge(batch.offsets, read, patience)  # only now
        watch.lap("commit")
        arrivals = [
            Arrival.of(message, change, outcome=outcome, searchable_at=searchable_at)
            for message, change, outcome in _by_message(batch, read, skipped, applied.outcomes)
        ]
        by_class = Counter(arrival.outcome for arrival in arrivals)
        self._arrived(arrivals)
        self._worked(
            Worked(messages=len(arrivals), outcomes=by_class, offsets=acknowledged, stages_s=watch.laps_s)
        )
        totals.messages += len(batch.messages)
        totals.batches += 1
        totals.by_class.update(by_class)
        log.info(
            "batch_applied",
            messages=len(batch.messages),
            dead=len(dead),
            **by_class,
            picture_notes=[note for receipt in applied.receipts for note in receipt.notes][:5],
            freshest_ms=min((arrival.freshness_ms for arrival in arrivals), default=None),
            oldest_ms=max((arrival.freshness_ms for arrival in arrivals), default=None),
            apply_ms=sum(receipt.took_ms for receipt in applied.receipts),
            took_ms=int(sum(watch.laps_s.values()) * 1000),
        )

    def _still_ours(self, batch: Batch) -> Batch:
        ours = {source: self._changes.owns(source) for source in batch.offsets}
        if all(ours.values()):
            return batch
        kept = tuple(message for message in batch.messages if ours[message.source])
        log.info("left_to_new_owner", messages=len(batch.messages) - len(kept))
        return Batch(kept)

    def _applying(self, patience: Patience) -> Apply:
        """The call that was given, until it is answered."""
        return lambda changes: patience.until_answered(lambda: self._apply(changes))

    def _make_good(self, late: Sequence[Read], reason: str, patience: Patience) -> None:
        make_good(
            late,
            reason,
            changes=self._changes,
            read=self._read,
            apply=self._applying(patience),
            patience=patience,
        )

    def _acknowledge(self, offsets: Offsets, read: Sequence[Read], patience: Patience) -> Offsets:
        try:
            self._changes.commit(offsets)
        except Evicted as error:  # the broker's word: when we wrote, the share may have been another's
            self._make_good(read, str(error), patience)
            return {}
        except (OwnershipLost, LogUnavailable) as error:
            # What was done is harmless to do again: by the new owner, or with the next batch.
            log.warning("not_acknowledged", reason=str(error))
            return {}
        return offsets

    def _decode(self, messages: Sequence[Message]) -> tuple[list[Read], list[Message], list[Outgoing]]:
        read, skipped, dead = [], [], []
        for message in messages:
            try:
                change = self._read(message)
            except Unreadable as error:
                dead.append(self._set_aside(message, stage="decode", reason=str(error)))
                continue
            if change is None:
                skipped.append(message)
            else:
                read.append(Read(message, change))
        return read, skipped, dead

    def _set_aside(self, message: Message, *, stage: str, reason: str) -> Outgoing:
        log.warning(
            "set_aside",
            stage=stage,
            reason=reason,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
        )
        return dead_letter(message, stage=stage, reason=reason, now=self._now())


def _by_message(
    batch: Batch, read: Sequence[Read], skipped: Sequence[Message], outcomes: Mapping[int, str]
) -> list[tuple[Message, ProductChange | None, str]]:
    """What became of each message, in the order of the batch."""
    changes = {(one.message.source, one.message.offset): one.change for one in read}
    nothing = {(message.source, message.offset) for message in skipped}
    told = []
    for message in batch.messages:
        place = (message.source, message.offset)
        change = changes.get(place)
        unread = "skipped" if place in nothing else "poison"
        outcome = unread if change is None else outcomes.get(id(change), "superseded")
        told.append((message, change, outcome))
    return told
