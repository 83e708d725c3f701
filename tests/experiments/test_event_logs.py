"""Events on their way to a file or a broker: bounded, counted, whole, and never in the way."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import jsonschema
import pytest

from experiments.errors import InvalidEvent
from experiments.events import json_lines_log
from experiments.events.event_json import exposure_from_json, mark_from_json, outcome_from_json, to_json
from experiments.events.event_ring import Delivery, EventRing, Line
from experiments.events.json_lines_log import JsonLinesEventLog, finish_left_open
from experiments.exposure import Exposure, Mark, Outcome, ServedProduct, event_id

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
PATIENCE_S = 300.0  # nothing takes so long, on however busy a machine


def exposure(number: int = 1, **fields: Any) -> Exposure:
    known: dict[str, Any] = {
        "event_id": f"e{number}",
        "experiment": "uniecs-recall",
        "variant": "treatment",
        "unit_id": f"用户{number}🛒",
        "session_id": "s",
        "query_id": f"q{number}",
        "query": "red mug",
        "query_kind": "text",
        "occurred_at": NOW,
        "served": (
            ServedProduct(product_id="mug", position=1, channels=("base",), rank_per_channel={"base": 1}),
        ),
    }
    return Exposure(**known | fields)


def mark(kind: Any = "triggered", **fields: Any) -> Mark:
    known: dict[str, Any] = {
        "event_id": "m1",
        "kind": kind,
        "experiment": "uniecs-recall",
        "phase": "1",
        "variant": "control",
        "unit_id": "u1",
        "session_id": "s",
        "occurred_at": NOW,
    }
    return Mark(**known | fields)


class Sink:
    """Keeps what it is given, when it is let."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.open = Event()
        self.open.set()
        self.fails = False

    def write(self, lines: Sequence[Line]) -> Delivery:
        self.open.wait(PATIENCE_S)
        if self.fails:
            raise OSError(28, "No space left on device")
        self.lines += lines
        return Delivery()

    def close(self, *, timeout_s: float) -> None:
        pass


def lines_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_every_event_gets_there_in_its_order() -> None:
    """And closing waits for it."""
    sink = Sink()
    ring = EventRing(sink, name="test")
    for number in range(1_200):
        ring.exposed(exposure(number))
    ring.close(timeout_s=PATIENCE_S)

    assert [f"e{number}" for number in range(1_200)] == [
        json.loads(line.value)["event_id"] for line in sink.lines
    ]
    assert (0, 0) == (ring.dropped, ring.waiting)


def test_with_the_log_away_the_oldest_are_dropped_and_counted() -> None:
    """Delivered and dropped are all there ever were; nothing is raised."""
    sink = Sink()
    sink.fails = True
    ring = EventRing(sink, name="test", capacity=10)
    for number in range(100):
        ring.exposed(exposure(number))
    sink.fails = False
    ring.close(timeout_s=PATIENCE_S)
    ring.exposed(exposure(100))

    assert 101 == ring.dropped + len(sink.lines)
    assert "e99" == json.loads(sink.lines[-1].value)["event_id"]
    assert len(sink.lines) <= 20


def test_a_sink_that_hangs_does_not_keep_close_from_ending() -> None:
    """What it held is counted as lost, once, whatever it does later."""
    sink = Sink()
    sink.open.clear()
    ring = EventRing(sink, name="test")
    ring.exposed(exposure(1))
    ring.close(timeout_s=0.1)
    counted = (ring.dropped, ring.waiting)
    sink.open.set()
    ring._thread.join(PATIENCE_S)

    assert (1, 0) == counted == (ring.dropped, ring.waiting)


def test_what_waits_takes_no_more_memory_than_it_may() -> None:
    """Long pages of a busy shop count by their bytes."""
    sink = Sink()
    sink.open.clear()
    ring = EventRing(sink, name="test", max_bytes=20_000)
    for number in range(200):
        ring.exposed(exposure(number, query="x" * 1_000))
    sink.open.set()
    ring.close(timeout_s=PATIENCE_S)

    assert 200 == ring.dropped + len(sink.lines)
    assert sum(len(line.value) for line in sink.lines) <= 40_000


def test_an_event_that_cannot_be_written_is_lost_alone() -> None:
    """Whoever made it."""
    sink = Sink()
    ring = EventRing(sink, name="test")
    ring.exposed(exposure(1, served=(None,)))
    ring.exposed(exposure(2))
    ring.close(timeout_s=PATIENCE_S)

    assert (1, 1) == (ring.dropped, len(sink.lines))


def test_what_a_sink_refuses_for_now_is_tried_again_and_what_it_refuses_for_good_is_lost() -> None:
    """Neither holds the others up."""
    sink, refused = Sink(), set()

    def write(lines: Sequence[Line]) -> Delivery:
        """However many lines come at once: the first event for now, the second for good."""
        names = {line: json.loads(line.value)["event_id"] for line in lines}
        again = [line for line, name in names.items() if name == "e0" and name not in refused]
        lost = [line for line, name in names.items() if name == "e1"]
        refused.update(names[line] for line in again)
        sink.lines += [line for line in lines if line not in (*again, *lost)]
        return Delivery(again=again, lost=len(lost))

    sink.write = write  # type: ignore[method-assign]
    ring = EventRing(sink, name="test")
    for number in range(4):
        ring.exposed(exposure(number))
    ring.close(timeout_s=PATIENCE_S)

    assert 1 == ring.dropped
    assert {"e0", "e2", "e3"} == {json.loads(line.value)["event_id"] for line in sink.lines}


def test_each_kind_of_event_has_its_files_and_its_schema(tmp_path: Path) -> None:
    """The schemas are the contract; what is written keeps to it and can be read back."""
    events = JsonLinesEventLog(tmp_path)
    seen = exposure(counterfactual=("jug",), triggered=True, teams=("base",), depth_of_first_change=1)
    events.exposed(seen)
    events.happened(
        Outcome(event_id="o1", kind="click", unit_id="u1", occurred_at=NOW, product_id="mug", query_id="q1")
    )
    events.marked(mark(would_change_page=True, depth_of_first_change=3, query_id="q1"))
    events.close(timeout_s=PATIENCE_S)

    assert [seen] == [
        exposure_from_json(json.dumps(line).encode()) for line in lines_of(tmp_path, "exposures")
    ]
    for kind, schema in (("exposures", "exposure"), ("outcomes", "outcome"), ("marks", "mark")):
        (line,) = lines_of(tmp_path, kind)
        contract = json.loads(Path(f"docs/schemas/{schema}.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(contract).validate(line)
        assert set(line) <= set(contract["properties"])
    assert mark(would_change_page=True, depth_of_first_change=3, query_id="q1") == mark_from_json(
        json.dumps(lines_of(tmp_path, "marks")[0]).encode()
    )


def test_files_are_finished_when_they_are_large_enough(tmp_path: Path) -> None:
    """No line is cut by it."""
    events = JsonLinesEventLog(tmp_path, rotate_bytes=50_000)
    for number in range(1_500):
        events.exposed(exposure(number))
    events.close(timeout_s=PATIENCE_S)

    assert len(list(tmp_path.glob("exposures-*.jsonl"))) > 2
    assert {f"e{number}" for number in range(1_500)} == {
        line["event_id"] for line in lines_of(tmp_path, "exposures")
    }


def test_what_a_killed_process_left_is_finished_by_the_next(tmp_path: Path) -> None:
    """Its torn last line is cut off; a file that somebody is writing is left alone."""
    left = tmp_path / "exposures-20260115T000000-1-0.jsonl.open"
    left.write_bytes(to_json(exposure(1)) + b"\n" + to_json(exposure(2))[:40])
    (tmp_path / "marks-20260115T000000-1-0.jsonl.open").write_bytes(b"torn")
    busy = JsonLinesEventLog(tmp_path)
    busy.exposed(exposure(3))
    while busy.waiting:
        Event().wait(0.01)

    assert 0 == finish_left_open(tmp_path)
    assert ["e1"] == [line["event_id"] for line in lines_of(tmp_path, "exposures")]
    busy.close(timeout_s=PATIENCE_S)
    assert ["e1", "e3"] == [line["event_id"] for line in lines_of(tmp_path, "exposures")]
    assert [] == list(tmp_path.glob("*.open"))


def test_a_file_that_another_process_took_for_a_left_one_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock somebody finished it: its lines would be in no folder."""
    real, times = json_lines_log.fcntl.flock, []

    def late(stream: Any, how: int) -> None:
        times.append(how)
        if len(times) == 1:
            assert 1 == finish_left_open(tmp_path)
        real(stream, how)

    events = JsonLinesEventLog(tmp_path)
    monkeypatch.setattr(json_lines_log.fcntl, "flock", late)
    events.exposed(exposure(1))
    events.close(timeout_s=PATIENCE_S)

    assert (0, ["e1"]) == (events.dropped, [line["event_id"] for line in lines_of(tmp_path, "exposures")])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is missing (Linux only)")
def test_a_full_disk_loses_nothing_that_a_later_try_can_write(tmp_path: Path) -> None:
    """The request never hears of it."""
    events = JsonLinesEventLog(tmp_path)
    sink: Any = events._sink
    file = sink._file("exposures")
    on_disk = file._stream
    with Path("/dev/full").open("ab", buffering=0) as full:
        file._stream = full
        events.exposed(exposure(1))
        while events._told_at == 0.0:
            Event().wait(0.01)
        file._stream = on_disk
    events.close(timeout_s=PATIENCE_S)

    assert (0, ["e1"]) == (events.dropped, [line["event_id"] for line in lines_of(tmp_path, "exposures")])


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    """With its name and the next step."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidEvent, match=r"events cannot be written to .*file.*name a folder of your own"):
        JsonLinesEventLog(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_worker_that_was_forked_delivers_what_is_its_own(tmp_path: Path) -> None:
    """A server that loads the plugin and then forks: threads and files do not come along."""
    script = (
        "import os, sys; from pathlib import Path; from tests.experiments.test_event_logs import *\n"
        "events = JsonLinesEventLog(Path(sys.argv[1]))\n"
        "events.exposed(exposure(0))\n"
        "for worker in (1, 2):\n"
        "    if os.fork() == 0:\n"
        "        events.exposed(exposure(worker)); events.close(timeout_s=PATIENCE_S)\n"
        "        os._exit(events.dropped)\n"
        "codes = [os.wait()[1] for _ in range(2)]\n"
        "events.close(timeout_s=PATIENCE_S); sys.exit(sum(codes) + events.dropped)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], timeout=600)

    assert 0 == done.returncode
    assert ["e0", "e1", "e2"] == sorted(line["event_id"] for line in lines_of(tmp_path, "exposures"))


def test_an_event_is_named_by_what_it_says() -> None:
    """So that a repeat has the same name, and another session, phase or kind another."""
    named = event_id("exposed", "x", "1", "u", "s")

    assert named == event_id("exposed", "x", "1", "u", "s")
    assert 5 == len(
        {
            named,
            event_id("exposed", "x", "2", "u", "s"),
            event_id("exposed", "x", "1", "u", "t"),
            event_id("assigned", "x", "1", "u", "s"),
            event_id("exposed", "x", "1", "us", ""),
        }
    )


@pytest.mark.parametrize("read", [exposure_from_json, outcome_from_json, mark_from_json])
@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b'{"event_id":"m","kind":"seen","unit_id":"u","occurred_at":"2026-01-15"}']
)
def test_a_line_that_is_no_event_is_refused(line: bytes, read: Callable[[bytes], object]) -> None:
    """One kind of error for whoever reads."""
    with pytest.raises(InvalidEvent):
        read(line)


def test_a_mark_is_of_a_known_kind() -> None:
    """Assigned or triggered."""
    with pytest.raises(InvalidEvent, match="kind is 'seen', must be assigned or triggered"):
        mark("seen")
