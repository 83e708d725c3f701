"""JSON Lines to Parquet: each row once, while files grow, are renamed, copied and cut off."""

import base64
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from experiments.events.event_json import exposure_to_json, outcome_to_json
from experiments.events.json_lines_log import JsonLinesEventLog
from streaming.archive import Archiver, ArchiveTotals
from streaming.archive_lines import LineEvents
from streaming.compaction import compact
from streaming.errors import ArchiveError
from streaming.in_memory import InMemoryTopics

from .making import START, click, exposure
from .test_archive import archive as archive_topics
from .test_archive import archived, put_exposures
from .test_programs import Programs

LEFT = [
    "1 file ends in a line that is not whole yet; the next run takes it",
    "1 not read, as the name does not end in .jsonl: outcomes.jsonl.1.gz",
]


def put(file: Path, numbers: Sequence[int], *, torn: bytes = b"") -> Path:
    """Append exposures as a worker does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(b"".join(exposure_to_json(exposure(number)) + b"\n" for number in numbers) + torn)
    return file


def archive(source: Path, folder: Path, *, chunk_rows: int = 50_000) -> ArchiveTotals:
    archiver = Archiver(LineEvents(source), folder, chunk_rows=chunk_rows)
    return archiver.run(stop=lambda: False, until_caught_up=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*") if file.is_file()
    }


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def test_the_files_of_all_workers_become_the_archive_that_kafka_gives(events: Path, logs: Path) -> None:
    """The same days, the same columns, the same rows, in names that tell file and bytes."""
    put(events / "exposures-20261119T220000-11-0.jsonl", range(8))
    put(events / "host-b" / "exposures-20261119T220000-12-0.jsonl", range(8, 12))
    (events / "outcomes-20261119T220000-11-1.jsonl").write_bytes(outcome_to_json(click(1)) + b"\n")
    (events / "marks-20261119T220000-11-2.jsonl").write_bytes(b"{}\n")
    topics = InMemoryTopics()
    put_exposures(topics, range(12))
    archive_topics(topics, logs.with_name("kafka"))

    totals = archive(events, logs)

    assert ({"exposures": 12, "outcomes": 1}, 0) == (dict(totals.rows), totals.unreadable)
    rows, schemas = [], []
    for folder in (logs, logs.with_name("kafka")):
        tables = [pq.ParquetFile(file).read() for file in sorted(folder.glob("exposures/day=*/*.parquet"))]
        rows.append(sorted(repr(row) for table in tables for row in table.to_pylist()))
        schemas.append({str(table.schema) for table in tables})
    assert rows[0] == rows[1]
    assert schemas[0] == schemas[1]
    size = (events / "exposures-20261119T220000-11-0.jsonl").stat().st_size
    assert any(file.name.endswith(f"-{0:012d}-{size - 1:012d}.parquet") for file in logs.rglob("*.parquet"))


def test_a_second_run_changes_no_byte_and_two_archives_are_the_same(events: Path, logs: Path) -> None:
    """Whoever runs it twice, or anew from the same files, has what he had."""
    for worker in range(3):
        put(events / f"exposures-2026-{worker}-0.jsonl", range(worker * 20, worker * 20 + 20))

    archive(events, logs, chunk_rows=16)
    first = contents(logs)
    again = archive(events, logs, chunk_rows=16)
    archive(events, logs.with_name("anew"), chunk_rows=16)

    assert (0, {}) == (again.files, dict(again.rows))
    assert first == contents(logs) == contents(logs.with_name("anew"))


def test_a_file_that_grows_is_read_on_and_its_torn_line_left(events: Path, logs: Path) -> None:
    """Half a line is no event yet; the rest of it may be on its way."""
    line = exposure_to_json(exposure(5))
    file = put(events / "exposures-2026-1-0.jsonl.open", range(5), torn=line[:100])
    source = LineEvents(events)
    Archiver(source, logs).run(stop=lambda: False, until_caught_up=True)
    assert ["1 file ends in a line that is not whole yet; the next run takes it"] == source.remarks()

    with file.open("ab") as stream:
        stream.write(line[100:] + b"\n\n \n")
    assert {"exposures": 1} == dict(archive(events, logs).rows)
    put(file, [6])
    archive(events, logs)

    assert sorted(f"e{n}" for n in range(7)) == sorted(archived(logs))


def test_a_rotated_file_is_the_same_file(events: Path, logs: Path) -> None:
    """By our sink, by logrotate, or moved to where old ones are kept."""
    put(events / "exposures-2026-1-0.jsonl.open", range(5))
    put(events / "exposures.jsonl", range(10, 15))
    archive(events, logs)

    (events / "exposures-2026-1-0.jsonl.open").rename(events / "exposures-2026-1-0.jsonl")
    (events / "exposures.jsonl").rename(events / "exposures.jsonl.1")
    put(events / "exposures.jsonl.1", [15])  # a writer that has not noticed yet
    put(events / "exposures.jsonl", range(20, 22))
    archive(events, logs)
    (events / "old").mkdir()
    (events / "exposures-2026-1-0.jsonl").rename(events / "old" / "exposures-2026-1-0.jsonl")
    shutil.copy(events / "exposures.jsonl.1", events / "old" / "exposures.jsonl.1")  # a copy adds nothing
    put(events / "exposures.jsonl.1", [16])
    archive(events, logs)

    assert Counter(f"e{n}" for n in (*range(5), *range(10, 17), 20, 21)) == Counter(archived(logs))


def test_a_file_that_is_rotated_while_it_is_read_is_followed(events: Path, logs: Path) -> None:
    """Between the look and the read it got another name, and another file its old one."""
    put(events / "exposures.jsonl", range(30))

    class Rotated(LineEvents):
        def resume(self, *arguments: Any) -> Any:
            (events / "exposures.jsonl").rename(events / "exposures.jsonl.1")
            put(events / "exposures.jsonl", range(30, 40))
            return super().resume(*arguments)

    Archiver(Rotated(events), logs).run(stop=lambda: False, until_caught_up=True)
    assert sorted(f"e{n}" for n in range(30)) == sorted(archived(logs))

    archive(events, logs)

    assert Counter(f"e{n}" for n in range(40)) == Counter(archived(logs))


def test_without_an_end_it_follows_what_comes(events: Path, logs: Path) -> None:
    """A file that is made while it runs is found; it ends when it is told to."""
    put(events / "exposures-2026-1-0.jsonl", range(3))
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        put(events / f"exposures-2026-2-{looks // 2}.jsonl.open", [100 + looks])

    Archiver(LineEvents(events, sleep=sleep), logs).run(stop=lambda: looks >= 4)

    assert {"e0", "e1", "e2", "e101", "e102", "e103"} == set(archived(logs))


def test_a_kill_at_any_write_doubles_nothing_and_drops_nothing(
    events: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between any two steps, the last of them before the acknowledgement, the next run repairs it."""
    put(events / "exposures-2026-1-0.jsonl", range(12))
    put(events / "exposures-2026-2-0.jsonl.open", range(12, 20))
    move = os.replace
    for last in range(14):
        folder, source = logs / str(last), events.with_name(f"events-{last}")
        shutil.copytree(events, source)
        left = last

        def cut_off(written: Any, target: Any) -> None:
            nonlocal left
            if left == 0:
                raise SystemExit("killed")
            left -= 1
            move(written, target)

        with monkeypatch.context() as dies, suppress(SystemExit):
            dies.setattr(os, "replace", cut_off)
            archive(source, folder, chunk_rows=8)
        put(source / "exposures-2026-2-0.jsonl.open", range(20, 23))
        archive(source, folder, chunk_rows=7)

        assert Counter(f"e{n}" for n in range(23)) == Counter(archived(folder)), f"killed at step {last}"


def test_compaction_joins_them_and_the_archive_goes_on(events: Path, logs: Path) -> None:
    """Their marks are read as those of partitions are; both kinds of source may share a folder."""
    topics = InMemoryTopics()
    put_exposures(topics, range(100, 110))
    archive_topics(topics, logs)
    for worker in range(4):
        put(events / f"exposures-2026-{worker}-0.jsonl", range(worker * 5, worker * 5 + 5))
    archive(events, logs, chunk_rows=3)

    compact(logs, keep_day="1970-01-01")
    again = archive(events, logs)
    put(events / "exposures-2026-0-0.jsonl", [50])
    archive(events, logs)

    assert 0 == again.files
    assert Counter(f"e{n}" for n in (*range(20), 50, *range(100, 110))) == Counter(archived(logs))
    (logs / "_offsets" / next(iter(os.listdir(logs / "_offsets")))).unlink()
    with pytest.raises(ArchiveError, match="is missing, but"):
        archive(events, logs) and archive_topics(topics, logs)


def test_a_bad_line_is_set_aside_with_its_reason_and_its_place(events: Path, logs: Path) -> None:
    """The rest is archived; a person finds the line by file and byte."""
    file = put(events / "exposures-2026-1-0.jsonl", range(2))
    at = file.stat().st_size
    with file.open("ab") as stream:
        stream.write(b"\xffnot json\r\n")
    put(file, [2])

    totals = archive(events, logs)

    assert (3, 1) == (len(archived(logs)), totals.unreadable)
    (aside,) = (logs / "unreadable" / "exposures").glob("*.jsonl")
    (told,) = map(json.loads, aside.read_text().splitlines())
    assert (file.name, at, b"\xffnot json") == (
        told["file"],
        told["offset"],
        base64.b64decode(told["value_base64"]),
    )
    assert "not JSON" in told["reason"]


def test_a_file_that_is_another_below_its_mark_is_told(events: Path, logs: Path) -> None:
    """Nobody can say which of its lines are archived."""
    file = put(events / "exposures-2026-1-0.jsonl", range(5))
    archive(events, logs)
    whole = file.read_bytes()
    first, _, rest = whole.partition(b"\n")
    file.write_bytes(first + b"\n" + rest.replace(b"red mug", b"mug") * 2)

    with pytest.raises(ArchiveError, match=r"was changed below byte \d+, which is archived"):
        archive(events, logs)

    file.write_bytes(first + b"\n")
    with capture_logs() as told:
        assert 0 == archive(events, logs).files
    assert ["file_was_cut"] == [line["event"] for line in told if line["log_level"] == "warning"]


def test_two_files_of_one_name_and_heading_are_told_apart_by_a_person(events: Path, logs: Path) -> None:
    """A heading is no event: with it the files of two days would be one."""
    for folder, number in (("monday", 1), ("tuesday", 2)):
        file = events / folder / "outcomes.jsonl"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"# outcomes\n" + outcome_to_json(click(number)) + b"\n")

    with pytest.raises(ArchiveError, match="an events file has no heading"):
        archive(events, logs)


def test_a_file_that_goes_away_is_told_and_not_waited_for(events: Path, logs: Path) -> None:
    """An archive that says it is done has all of it."""
    file = put(events / "exposures-2026-1-0.jsonl", range(5))

    class Removed(LineEvents):
        def resume(self, *arguments: Any) -> Any:
            file.unlink()
            return super().resume(*arguments)

    with pytest.raises(ArchiveError, match="went away before it was archived"):
        Archiver(Removed(events), logs).run(stop=lambda: False, until_caught_up=True)


def test_an_archiver_that_is_killed_beside_running_workers_doubles_nothing(tmp_path: Path) -> None:
    """Two workers write and rotate, the program dies twice: every event is there once."""
    workers = [JsonLinesEventLog(tmp_path / "events", rotate_bytes=20_000) for _ in range(2)]
    programs = Programs(tmp_path, EXPERIMENT_LOGS="archive")
    logs, sent = tmp_path / "archive", 0
    for _ in range(2):
        there = len(list(logs.rglob("*.parquet")))
        with programs.started("archive", "--from", "events", "--chunk-wait-s", "0.1") as killed:
            while len(list(logs.rglob("*.parquet"))) <= there + 2:
                assert killed.poll() is None, (tmp_path / "log").read_text()
                for worker in workers:
                    worker.exposed(replace(exposure(sent := sent + 1), occurred_at=START))
                time.sleep(0.01)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
    for worker in workers:
        worker.close(timeout_s=60)

    assert [0, 0] == [worker.dropped for worker in workers]
    assert 0 == programs.run("archive", "--from", "events", "--until-caught-up").returncode
    assert len(list((tmp_path / "events").glob("*.jsonl"))) > 2, "they were rotated"
    assert Counter(f"e{n}" for n in range(1, sent + 1)) == Counter(archived(logs))


def test_the_command_needs_no_kafka_and_says_what_it_left(tmp_path: Path) -> None:
    """A shop without a broker; a folder, a file, and what is wrong with either."""
    events = tmp_path / "events"
    put(events / "exposures-2026-1-0.jsonl", range(4), torn=b"{")
    (events / "outcomes.jsonl.1.gz").write_bytes(b"\x1f\x8b")
    programs = Programs(tmp_path, KAFKA_BOOTSTRAP="127.0.0.1:1", EXPERIMENT_LOGS="archive")

    def run(*arguments: str) -> tuple[int, list[str], str]:
        told = programs.run("archive", "--until-caught-up", "--from", *arguments)
        return told.returncode, told.stdout.decode().splitlines(), told.stderr.decode()

    nothing_new = ["nothing new in 0 files under archive", LEFT[0]]

    assert (0, ["4 exposures in 1 file under archive", *LEFT]) == run("events")[:2]
    assert (0, nothing_new) == run("events/exposures-2026-1-0.jsonl")[:2]
    for wrong, why in (
        ("no-events", "no-events: no such file or folder; name the folder that RECALL_EVENTS names"),
        ("events/outcomes.jsonl.1.gz", "outcomes.jsonl.1.gz does not say what it holds; rename it to begin"),
    ):
        code, _, said = run(wrong)
        assert 2 == code
        assert f"error: {why}" in said
