"""Exposures and outcomes to Parquet, exactly once in effect, from topics or from JSON Lines.

A chunk is a stretch of positions of one part: offsets of a partition, bytes of
a file. Its rows go to one file per day, named by the part and the positions.
In this order:

1. write the files beside their place, under names that no reader looks for;
2. move them into place;
3. move the mark `_offsets/...json` on to the next position: now the chunk counts;
4. acknowledge to the source, for others to see: the mark is what a restart believes.

Files at or past the mark are a chunk that was cut off between 2 and 3. A restart
removes them and reads those positions again, so that no row is doubled or lost.
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
from typing import Any

import structlog

from experiments.errors import InvalidEvent
from experiments.events.event_json import exposure_from_json, outcome_from_json
from experiments.exposure import Exposure, Outcome

from .archive_columns import event_day, to_table
from .archive_files import beside, only_one, settle, write_text
from .archive_marks import Marks, Stretch
from .archive_source import EventSource, Kind, Part, Record
from .compaction import finish_all

log = structlog.get_logger()

_READERS: Mapping[Kind, Callable[[bytes], Exposure | Outcome]] = {
    "exposures": exposure_from_json,
    "outcomes": outcome_from_json,
}


@dataclass(slots=True)
class ArchiveTotals:
    """What a run has done."""

    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unreadable: int = 0
    files: int = 0


class Archiver:
    """Moves events into a folder; the only one that does so while it is open.

    Args:
        chunk_rows: a chunk is closed at so many rows over all parts ...
        chunk_wait_s: ... or when its first row has waited so long.
    """

    def __init__(
        self,
        source: EventSource,
        folder: Path,
        *,
        chunk_rows: int = 50_000,
        chunk_wait_s: float = 60.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._folder = folder
        self._chunk_rows = chunk_rows
        self._chunk_wait_s = chunk_wait_s
        self._steady_s = steady_s
        self._next: dict[Part, int] = {}

    def run(self, *, stop: Callable[[], bool], until_caught_up: bool = False) -> ArchiveTotals:
        """Archive until told to stop, or until the end as it is now.

        Raises:
            ArchiveError: another archiver uses the folder, or it or the source was tampered with.
            LogUnavailable: what is in place stays; start again later.
        """
        totals = ArchiveTotals()
        with only_one(self._folder):
            finish_all(self._folder)
            marks = Marks(self._folder)
            ends = self._take_up_new(marks)
            waiting: dict[Part, list[Record]] = defaultdict(list)
            since_s = self._steady_s()
            while not stop():
                if until_caught_up and all(self._next[part] >= end for part, end in ends.items()):
                    break
                count = sum(len(held) for held in waiting.values())
                records = self._source.poll(timeout_s=0.5, max_records=self._chunk_rows - count)
                for record in records:
                    waiting[record.part].append(record)
                    self._next[record.part] = record.end
                if not records and not until_caught_up:
                    self._take_up_new(marks)
                full = count + len(records) >= self._chunk_rows
                if full or self._steady_s() - since_s >= self._chunk_wait_s:
                    self._close_chunks(waiting, marks, totals)
                    since_s = self._steady_s()
            self._close_chunks(waiting, marks, totals)
        return totals

    def _take_up_new(self, marks: Marks) -> dict[Part, int]:
        """Go to the mark of every new part, clear what was cut off, return the ends."""
        ends = {}
        for part in self._source.new_parts():
            mark = marks.read(part)
            self._next[part], ends[part] = self._source.resume(part, mark)
            if mark is None:
                marks.move(part, self._next[part])
            else:
                marks.remove_cut_off(part, mark)
        return ends

    def _close_chunks(self, waiting: dict[Part, list[Record]], marks: Marks, totals: ArchiveTotals) -> None:
        began_s = self._steady_s()
        done = {}
        for part, records in sorted(waiting.items()):
            self._write_chunk(part, records, totals)
            marks.move(part, records[-1].end)
            done[part] = records[-1].end
        if done:
            self._source.acknowledge(done)
            log.info(
                "archived",
                messages=sum(len(records) for records in waiting.values()),
                parts=len(done),
                took_ms=int((self._steady_s() - began_s) * 1000),
            )
        waiting.clear()

    def _write_chunk(self, part: Part, records: Sequence[Record], totals: ArchiveTotals) -> None:
        days: dict[str, list[Exposure | Outcome]] = defaultdict(list)
        unreadable = []
        for record in records:
            try:
                if record.value is None:
                    raise InvalidEvent("the value is null; an event is a JSON object")  # noqa: TRY301
                event = _READERS[part.kind](record.value)
                days[event_day(event)].append(event)
            except InvalidEvent as error:
                unreadable.append(_told(record, error))
        name = Stretch(part.stem, records[0].begin, records[-1].end - 1).name
        placed: list[tuple[Path, Path]] = []
        for day, events in sorted(days.items()):
            target = self._folder / part.kind / f"day={day}" / f"{name}.parquet"
            placed.append((_write_table(target, part.kind, events), target))
            totals.rows[part.kind] += len(events)
        if unreadable:
            target = self._folder / "unreadable" / part.kind / f"{name}.jsonl"
            placed.append((write_text(target, "".join(unreadable)), target))
            totals.unreadable += len(unreadable)
            log.warning("events_unreadable", count=len(unreadable), file=str(target))
        for written, target in placed:
            os.replace(written, target)
        totals.files += len(placed)


def _told(record: Record, error: InvalidEvent) -> str:
    told: dict[str, Any] = {
        **record.part.told,
        "offset": record.begin,
        "reason": str(error),
        "value_base64": None if record.value is None else base64.b64encode(record.value).decode(),
    }
    return json.dumps(told) + "\n"


def _write_table(target: Path, kind: Kind, events: Sequence[Exposure | Outcome]) -> Path:
    import pyarrow.parquet as pq  # heavy: loaded when there is something to write

    written = beside(target)
    pq.write_table(to_table(kind, events), written, compression="zstd")
    settle(written)
    return written
