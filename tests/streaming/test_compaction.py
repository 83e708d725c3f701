"""Many files become few, and no row is doubled or lost, whatever is cut off where."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from streaming.compaction import compact
from streaming.errors import ArchiveError
from streaming.in_memory import InMemoryTopics

from .test_archive import archive, archived, put_exposures

NO_DAY = "1970-01-01"


def filled(folder: Path, rows: int = 100) -> InMemoryTopics:
    """An archive of many small chunks over three days."""
    topics = InMemoryTopics()
    for start in range(0, rows, 10):
        put_exposures(topics, range(start, start + 10))
        archive(topics, folder, chunk_rows=4)
    return topics


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("exposures/day=*/*.parquet"))


def test_a_day_becomes_one_file_with_the_same_rows_and_columns(tmp_path: Path) -> None:
    """Readers of the folder notice nothing but speed."""
    filled(tmp_path)
    before = files(tmp_path)
    rows, schema = sorted(archived(tmp_path)), pq.read_schema(before[0])

    done = compact(tmp_path, keep_day=NO_DAY)

    days = {file.parent for file in before}
    assert (len(before), len(days)) == (done.files_before, done.files_after)
    assert len(before) > 10 * len(days)
    assert sorted(f"e{n}" for n in range(100)) == rows == sorted(archived(tmp_path))
    assert schema.remove_metadata() == pq.read_schema(files(tmp_path)[0]).remove_metadata()


def test_the_archive_goes_on_after_it_and_may_be_joined_again(tmp_path: Path) -> None:
    """Marks are left alone, so the next run begins where the last one ended."""
    topics = filled(tmp_path)
    compact(tmp_path, keep_day=NO_DAY)
    put_exposures(topics, range(100, 130))
    archive(topics, tmp_path, chunk_rows=4)
    compact(tmp_path, keep_day=NO_DAY)
    again = compact(tmp_path, keep_day=NO_DAY)

    assert again.files_before == again.files_after == len({file.parent for file in files(tmp_path)})
    assert Counter(f"e{n}" for n in range(130)) == Counter(archived(tmp_path))


def test_the_day_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    """It would only be joined again and again."""
    filled(tmp_path)
    kept = [file for file in files(tmp_path) if file.parent.name == "day=2026-11-20"]

    compact(tmp_path, keep_day="2026-11-20")

    assert kept
    assert set(kept) <= set(files(tmp_path))


def test_a_kill_between_any_two_steps_doubles_nothing_and_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run finishes what was cut off, archiver or not."""
    replace, unlink = os.replace, Path.unlink
    for last in range(12):
        folder = tmp_path / str(last)
        topics = filled(folder, rows=60)
        left = last

        def dying(act: Callable[..., None]) -> Callable[..., None]:
            def step(*arguments: object, **options: object) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise SystemExit
                act(*arguments, **options)

            return step

        with monkeypatch.context() as dies:
            dies.setattr(os, "replace", dying(replace))
            dies.setattr(Path, "unlink", dying(unlink))
            with suppress(SystemExit):
                compact(folder, keep_day=NO_DAY)
        put_exposures(topics, range(60, 70))
        if last % 2:
            compact(folder, keep_day=NO_DAY)
        archive(topics, folder)

        assert Counter(f"e{n}" for n in range(70)) == Counter(archived(folder)), f"killed at step {last}"


def test_what_was_cut_off_is_not_joined_but_archived_anew(tmp_path: Path) -> None:
    """Files past the mark do not count; joined, they could not be removed any more."""
    topics = filled(tmp_path)
    marks = {mark: mark.read_text() for mark in (tmp_path / "_offsets").glob("exposures-*.json")}
    put_exposures(topics, range(100, 110))
    archive(topics, tmp_path)
    for mark, told in marks.items():
        mark.write_text(told)

    compact(tmp_path, keep_day=NO_DAY)
    archive(topics, tmp_path)

    assert Counter(f"e{n}" for n in range(110)) == Counter(archived(tmp_path))


def test_a_mark_that_is_lost_is_noticed_although_all_files_are_joined(tmp_path: Path) -> None:
    """Starting from the first offset would double every row."""
    topics = filled(tmp_path)
    compact(tmp_path, keep_day=NO_DAY)
    next((tmp_path / "_offsets").glob("exposures-*-000.json")).unlink()

    with pytest.raises(ArchiveError, match="is missing, but"):
        archive(topics, tmp_path)


def test_files_of_an_earlier_release_are_joined_with_newer_ones(tmp_path: Path) -> None:
    """What exposures have learnt to say since is null there."""
    filled(tmp_path, rows=40)
    since = ["would_change_pool", "depth_of_first_change", "teams", "team_weights"]
    for file in files(tmp_path)[::2]:
        table = pq.ParquetFile(file).read()
        pq.write_table(table.drop_columns(since), file)
    compact(tmp_path, keep_day=NO_DAY)

    assert sorted(f"e{n}" for n in range(40)) == sorted(archived(tmp_path))
    assert all(set(since) <= set(pq.read_schema(file).names) for file in files(tmp_path))
