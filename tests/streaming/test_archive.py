"""Events to Parquet: each row once, whatever is cut off where."""

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from experiments.events.event_json import exposure_to_json, outcome_to_json
from experiments.exposure import Exposure, Outcome
from streaming.archive import Archiver, ArchiveTotals
from streaming.archive_source import Kind
from streaming.archive_topics import TopicEvents
from streaming.change_log import Outgoing
from streaming.errors import ArchiveError
from streaming.in_memory import InMemoryTopicReader, InMemoryTopics

from .making import click, exposure

TOPICS: dict[str, Kind] = {"search-exposures": "exposures", "search-outcomes": "outcomes"}


def put_exposures(topics: InMemoryTopics, numbers: range) -> None:
    topics.send(
        [
            Outgoing(
                topic="search-exposures", key=f"u{number}".encode(), value=exposure_to_json(exposure(number))
            )
            for number in numbers
        ]
    )


def archive(topics: InMemoryTopics, folder: Path, *, chunk_rows: int = 50_000) -> ArchiveTotals:
    reader = InMemoryTopicReader(topics, list(TOPICS), group="archive")
    archiver = Archiver(TopicEvents(reader, TOPICS), folder, chunk_rows=chunk_rows)
    return archiver.run(stop=lambda: False, until_caught_up=True)


def archived(folder: Path, kind: str = "exposures") -> list[str]:
    files = sorted(folder.glob(f"{kind}/day=*/*.parquet"))
    return [row["event_id"] for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def test_rows_lie_under_the_day_they_occurred_with_the_columns_agreed_on(tmp_path: Path) -> None:
    """Reports read these folders without asking this program."""
    topics = InMemoryTopics()
    put_exposures(topics, range(12))
    topics.send([Outgoing(topic="search-outcomes", key=b"u1", value=outcome_to_json(click(1)))])

    totals = archive(topics, tmp_path)

    assert {"exposures": 12, "outcomes": 1} == dict(totals.rows)
    assert {"day=2026-11-19", "day=2026-11-20"} == {path.name for path in (tmp_path / "exposures").iterdir()}
    file = next((tmp_path / "exposures" / "day=2026-11-19").glob("*.parquet"))
    table = pq.ParquetFile(file).read()
    assert list(Exposure.__dataclass_fields__) == table.column_names
    assert "timestamp[us, tz=UTC]" == str(table.schema.field("occurred_at").type)
    row = table.to_pylist()[0]
    assert [{"channel": "base", "rank": 2}, {"channel": "uniecs", "rank": 1}] == row["served"][0][
        "rank_per_channel"
    ]
    outcome = next((tmp_path / "outcomes").glob("day=*/*.parquet"))
    assert list(Outcome.__dataclass_fields__) == pq.ParquetFile(outcome).read().column_names


def test_a_second_run_adds_only_what_is_new(tmp_path: Path) -> None:
    """A restart goes on where the last run ended."""
    topics = InMemoryTopics()
    put_exposures(topics, range(10))
    archive(topics, tmp_path)
    before = set(tmp_path.rglob("*.parquet"))

    again = archive(topics, tmp_path)
    put_exposures(topics, range(10, 15))
    more = archive(topics, tmp_path)

    assert (0, 5) == (again.files, more.rows["exposures"])
    assert before < set(tmp_path.rglob("*.parquet"))
    assert sorted(f"e{n}" for n in range(15)) == sorted(archived(tmp_path))


def test_a_kill_at_any_write_doubles_nothing_and_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between any two steps, the next run repairs it, with chunks of another size, too."""
    replace = os.replace
    for last in range(14):
        folder = tmp_path / str(last)
        topics = InMemoryTopics()
        put_exposures(topics, range(20))
        left = last

        def cut_off(source: Any, target: Any) -> None:
            nonlocal left
            if left == 0:
                raise SystemExit("killed")
            left -= 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", cut_off)
        with suppress(SystemExit):
            archive(topics, folder, chunk_rows=8)
        monkeypatch.setattr(os, "replace", replace)
        put_exposures(topics, range(20, 23))
        archive(topics, folder, chunk_rows=7)

        assert Counter(f"e{n}" for n in range(23)) == Counter(archived(folder))


def test_a_kill_between_the_files_and_the_commit_doubles_nothing(tmp_path: Path) -> None:
    """Kafka's own offset may lag behind: the mark beside the data is what counts."""
    topics = InMemoryTopics()
    put_exposures(topics, range(10))
    archive(topics, tmp_path)
    topics.committed.clear()

    archive(topics, tmp_path)

    assert 10 == len(archived(tmp_path))


def test_an_event_that_cannot_be_read_is_kept_with_its_bytes(tmp_path: Path) -> None:
    """The rest of the chunk is archived; nothing is lost."""
    topics = InMemoryTopics()
    put_exposures(topics, range(3))
    topics.send([Outgoing(topic="search-exposures", key=b"u", value=b"\xffnot json")])
    topics.send([Outgoing(topic="search-exposures", key=b"u", value=None)])

    totals = archive(topics, tmp_path)
    archive(topics, tmp_path)

    assert (3, 2) == (len(archived(tmp_path)), totals.unreadable)
    (file,) = (tmp_path / "unreadable" / "exposures").glob("*.jsonl")
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert ["/25vdCBqc29u", None] == [line["value_base64"] for line in kept]


def test_a_topic_made_anew_does_not_touch_what_was_archived(tmp_path: Path) -> None:
    """Offsets start again at nought; files carry the topic's id, so they cannot be taken for each other."""
    old, new = InMemoryTopics(), InMemoryTopics()
    put_exposures(old, range(5))
    put_exposures(new, range(5, 8))
    archive(old, tmp_path)

    class Anew(InMemoryTopicReader):
        def identity(self, topic: str) -> str:
            return "0" + super().identity(topic)

    reader = Anew(new, list(TOPICS), group="archive")
    Archiver(TopicEvents(reader, TOPICS), tmp_path).run(stop=lambda: False, until_caught_up=True)

    assert sorted(f"e{n}" for n in range(8)) == sorted(archived(tmp_path))


def test_a_lost_mark_is_told_and_nothing_is_removed(tmp_path: Path) -> None:
    """Guessing would double rows or drop them."""
    topics = InMemoryTopics()
    put_exposures(topics, range(5))
    archive(topics, tmp_path)
    for mark in (tmp_path / "_offsets").iterdir():
        mark.unlink()

    with pytest.raises(ArchiveError, match=r"is missing, but .* holds files of search-exposures"):
        archive(topics, tmp_path)

    assert 5 == len(archived(tmp_path))


def test_two_archivers_never_share_a_folder(tmp_path: Path) -> None:
    """The second is told; it would remove the files of the first."""
    topics = InMemoryTopics()
    put_exposures(topics, range(5))
    told: list[str] = []

    class Nested(InMemoryTopicReader):
        def poll(self, *, timeout_s: float, max_messages: int) -> list[Any]:
            if not told:
                with pytest.raises(ArchiveError) as refused:
                    archive(topics, tmp_path)
                told.append(str(refused.value))
            return super().poll(timeout_s=timeout_s, max_messages=max_messages)

    reader = Nested(topics, list(TOPICS), group="archive")
    Archiver(TopicEvents(reader, TOPICS), tmp_path).run(stop=lambda: False, until_caught_up=True)

    assert ["another archiver writes to"] == [text[:26] for text in told]
    assert 5 == len(archived(tmp_path))


def test_a_half_written_file_is_not_seen_by_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers look for day=*/*.parquet; what is being written has another name."""
    topics = InMemoryTopics()
    put_exposures(topics, range(5))
    replace = os.replace

    def only_marks(source: Any, target: Any) -> None:
        if str(target).endswith(".parquet"):
            raise SystemExit("killed")
        replace(source, target)

    monkeypatch.setattr(os, "replace", only_marks)
    with pytest.raises(SystemExit):
        archive(topics, tmp_path)

    assert [] == list(tmp_path.glob("exposures/day=*/*.parquet"))
