"""Exposures and outcomes from the log to Parquet, exactly once in effect.

A chunk is a stretch of offsets of one partition. Its rows go to one file per
day, named by topic, partition and offsets. In this order:

1. write the files beside their place, under names that no reader looks for;
2. move them into place;
3. move the mark `_offsets/...json` on to the next offset: now the chunk counts;
4. acknowledge to Kafka, for `status` alone: the mark is what a restart believes.

Files at or past the mark are a chunk that was cut off between 2 and 3. A restart
removes them and reads those offsets again, so that no row is doubled or lost.
The mark lies beside the data: the two are moved, copied and deleted together.
"""

import base64
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog

from experiments.errors import InvalidEvent
from experiments.exposure import Exposure, Outcome, exposure_from_json, outcome_from_json

from .archive_columns import event_day, to_table
from .archive_files import beside, only_one, settle, write_text
from .change_log import Message, Partition, TopicReader
from .compaction import finish_all, stems_joined
from .errors import ArchiveError

log = structlog.get_logger()

Kind = Literal["exposures", "outcomes"]

_READERS: Mapping[Kind, Callable[[bytes], Exposure | Outcome]] = {
    "exposures": exposure_from_json,
    "outcomes": outcome_from_json,
}
# As much of a topic's id as tells topics apart in a file's name.
_IDENTITY_CHARACTERS = 12


@dataclass(slots=True)
class ArchiveTotals:
    """What a run has done."""

    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unreadable: int = 0
    files: int = 0


class Archiver:
    """Moves some topics into a folder; the only one that does so while it is open.

    Args:
        kinds: which topic holds what.
        chunk_rows: a chunk is closed at so many rows over all partitions ...
        chunk_wait_s: ... or when its first row has waited so long.
    """

    def __init__(
        self,
        reader: TopicReader,
        folder: Path,
        kinds: Mapping[str, Kind],
        *,
        chunk_rows: int = 50_000,
        chunk_wait_s: float = 60.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._folder = folder
        self._kinds = kinds
        self._chunk_rows = chunk_rows
        self._chunk_wait_s = chunk_wait_s
        self._steady_s = steady_s
        self._names: dict[str, str] = {}
        self._next: dict[Partition, int] = {}

    def run(self, *, stop: Callable[[], bool], until_caught_up: bool = False) -> ArchiveTotals:
        """Archive until told to stop, or until the end as it is now.

        Raises:
            ArchiveError: another archiver uses the folder, or it was tampered with.
            LogUnavailable: what is in place stays; start again later.
        """
        totals = ArchiveTotals()
        with only_one(self._folder):
            ends = self._begin()
            waiting: dict[Partition, list[Message]] = defaultdict(list)
            since_s = self._steady_s()
            while not stop():
                count = sum(len(held) for held in waiting.values())
                for message in self._reader.poll(timeout_s=0.5, max_messages=self._chunk_rows - count):
                    waiting[message.source].append(message)
                    self._next[message.source] = message.offset + 1
                count = sum(len(held) for held in waiting.values())
                if count >= self._chunk_rows or self._steady_s() - since_s >= self._chunk_wait_s:
                    self._close_chunks(waiting, totals)
                    since_s = self._steady_s()
                if until_caught_up and all(self._next[one] >= end for one, end in ends.items()):
                    break
            self._close_chunks(waiting, totals)
        return totals

    def _begin(self) -> dict[Partition, int]:
        """Seek every partition to its mark, clear what was cut off, return the ends."""
        finish_all(self._folder, set(self._kinds.values()))
        ends = {}
        for partition in self._reader.partitions():
            if partition.topic not in self._names:
                self._names[partition.topic] = self._reader.identity(partition.topic)[:_IDENTITY_CHARACTERS]
            first, end = self._reader.bounds(partition)
            start = self._marked(partition)
            if start is None:
                start = first
                self._mark(partition, start)
            if start > end:
                raise ArchiveError(
                    f"{partition.topic}/{partition.index} ends at {end}, but next is {start} by "
                    f"{self._mark_file(partition)}; was the topic cut? "
                    f"Move {self._folder} away to archive anew"
                )
            self._remove_cut_off(partition, start)
            if start < first:
                log.warning(
                    "archive_gap",
                    topic=partition.topic,
                    partition=partition.index,
                    lost=first - start,
                    reason="dropped by the topic before they were archived; archive more often",
                )
                start = first
            self._reader.seek(partition, start)
            self._next[partition] = start
            ends[partition] = end
        return ends

    def _close_chunks(self, waiting: dict[Partition, list[Message]], totals: ArchiveTotals) -> None:
        began_s = self._steady_s()
        done = {}
        for partition, messages in sorted(waiting.items()):
            self._write_chunk(partition, messages, totals)
            self._mark(partition, messages[-1].offset + 1)
            done[partition] = messages[-1].offset + 1
        if done:
            self._reader.commit(done)
            log.info(
                "archived",
                messages=sum(len(messages) for messages in waiting.values()),
                partitions=len(done),
                took_ms=int((self._steady_s() - began_s) * 1000),
            )
        waiting.clear()

    def _write_chunk(self, partition: Partition, messages: Sequence[Message], totals: ArchiveTotals) -> None:
        kind = self._kinds[partition.topic]
        days: dict[str, list[Exposure | Outcome]] = defaultdict(list)
        unreadable = []
        for message in messages:
            try:
                if message.value is None:
                    raise InvalidEvent("the value is null; an event is a JSON object")  # noqa: TRY301
                event = _READERS[kind](message.value)
                days[event_day(event)].append(event)
            except InvalidEvent as error:
                unreadable.append(_told(message, error))
        stem = f"{self._stem(partition)}-{messages[0].offset:012d}-{messages[-1].offset:012d}"
        placed: list[tuple[Path, Path]] = []
        for day, events in sorted(days.items()):
            target = self._folder / kind / f"day={day}" / f"{stem}.parquet"
            placed.append((_write_table(target, kind, events), target))
            totals.rows[kind] += len(events)
        if unreadable:
            target = self._folder / "unreadable" / kind / f"{stem}.jsonl"
            placed.append((write_text(target, "".join(unreadable)), target))
            totals.unreadable += len(unreadable)
            log.warning("events_unreadable", count=len(unreadable), file=str(target))
        for written, target in placed:
            os.replace(written, target)
        totals.files += len(placed)

    def _remove_cut_off(self, partition: Partition, start: int) -> None:
        for file in self._files(partition):
            if _first_offset(file) >= start:
                log.info("cut_off_removed", file=str(file))
                file.unlink()

    def _files(self, partition: Partition) -> list[Path]:
        kind = self._kinds[partition.topic]
        stem = self._stem(partition)
        return [
            *(self._folder / kind).glob(f"day=*/{stem}-*.parquet"),
            *(self._folder / "unreadable" / kind).glob(f"{stem}-*.jsonl"),
        ]

    def _marked(self, partition: Partition) -> int | None:
        file = self._mark_file(partition)
        if file.exists():
            try:
                return int(json.loads(file.read_text(encoding="utf-8"))["next"])
            except (ValueError, KeyError, TypeError) as error:
                raise ArchiveError(f"{file} cannot be read ({error}); restore it from a copy") from error
        if self._files(partition) or self._stem(partition) in self._joined(partition):
            raise ArchiveError(
                f"{file} is missing, but {self._folder} holds files of {partition.topic}/{partition.index}; "
                "restore it, or move the folder away to archive anew"
            )
        return None

    def _joined(self, partition: Partition) -> set[str]:
        return stems_joined(self._folder, self._kinds[partition.topic])

    def _mark(self, partition: Partition, offset: int) -> None:
        told = {"topic": partition.topic, "partition": partition.index, "next": offset}
        file = self._mark_file(partition)
        os.replace(write_text(file, json.dumps(told) + "\n"), file)

    def _mark_file(self, partition: Partition) -> Path:
        return self._folder / "_offsets" / f"{self._kinds[partition.topic]}-{self._stem(partition)}.json"

    def _stem(self, partition: Partition) -> str:
        return f"{self._names[partition.topic]}-{partition.index:03d}"


def _first_offset(file: Path) -> int:
    return int(file.stem.split("-")[2])


def _told(message: Message, error: InvalidEvent) -> str:
    told: dict[str, Any] = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "reason": str(error),
        "value_base64": None if message.value is None else base64.b64encode(message.value).decode(),
    }
    return json.dumps(told) + "\n"


def _write_table(target: Path, kind: Kind, events: Sequence[Exposure | Outcome]) -> Path:
    import pyarrow.parquet as pq  # heavy: loaded when there is something to write

    written = beside(target)
    pq.write_table(to_table(kind, events), written, compression="zstd")
    settle(written)
    return written
