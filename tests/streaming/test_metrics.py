"""What a consumer tells, what is called a stall, and that dashboards ask for what exists."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from streaming.change_log import Partition
from streaming.errors import InvalidSettings, LogUnavailable
from streaming.in_memory import InMemoryTopicReader
from streaming.lag import PartitionLag, lag
from streaming.lookout import Lookout, serving
from streaming.metrics import FRESHNESS_BUCKETS_S, ConsumerMetrics, freshness_spread
from streaming.pace import GroupPace, ask_freshness, freshness_figures, freshness_lines, oldest_waiting
from streaming.stalls import StallWatch

from .making import NOON, TOPIC, Bench, change_json, put

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana"
ZERO, ONE = Partition(TOPIC, 0), Partition(TOPIC, 1)


def at(partition: Partition, committed: int | None, end: int) -> PartitionLag:
    return PartitionLag(partition=partition, committed=committed, first=0, end=end)


def worked(bench: Bench) -> ConsumerMetrics:
    """The figures after a batch of every kind."""
    metrics = ConsumerMetrics()
    put(bench.topics, change_json(version=1))
    put(bench.topics, b"poison", key="cup-2")
    bench.run(worked=lambda one: metrics.worked(one, at_s=1_790_000_000.0))
    metrics.arrived(bench.arrivals)
    return metrics


def sample(text: str, name: str) -> float:
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[-1])


def test_a_batch_is_counted_by_class_stage_size_and_offset(bench: Bench) -> None:
    """What is told is what happened."""
    text = worked(bench).text().decode()

    assert 1.0 == sample(text, 'uniecs_stream_messages_total{outcome="new"}')
    assert 1.0 == sample(text, 'uniecs_stream_messages_total{outcome="poison"}')
    assert 2.0 == sample(text, "uniecs_stream_batch_messages_sum")
    assert 1.0 == sample(text, 'uniecs_stream_stage_seconds_count{stage="apply"}')
    assert 59.0 == sample(text, 'uniecs_stream_freshness_seconds_sum{outcome="new"}')
    assert 1.79e9 == sample(text, "uniecs_stream_last_progress_timestamp_seconds")
    assert 2.0 == sample(text, f'uniecs_stream_acknowledged_offset{{partition="1",topic="{TOPIC}"}}')


def test_what_was_not_acknowledged_is_no_progress(bench: Bench) -> None:
    """A batch that another will do again has not moved the group on."""
    metrics = ConsumerMetrics()
    bench.changes.commit = lost  # type: ignore[method-assign]
    put(bench.topics, change_json())
    bench.run(worked=lambda one: metrics.worked(one, at_s=1_790_000_000.0))

    assert 0.0 == sample(metrics.text().decode(), "uniecs_stream_last_progress_timestamp_seconds")


def lost(_offsets: object) -> None:
    raise LogUnavailable("away")


def test_freshness_is_told_as_bounds_of_buckets_per_class(bench: Bench) -> None:
    """No interpolation: half lie within a bound that was really counted."""
    (new, poison) = freshness_spread(worked(bench).text().decode())

    assert ("new", 1, 60.0, 60.0) == (new.outcome, new.count, new.half_within_s, new.most_within_s)
    assert "poison" == poison.outcome
    assert sorted(FRESHNESS_BUCKETS_S) == list(FRESHNESS_BUCKETS_S)


def test_a_partition_with_work_that_does_not_move_is_stalled() -> None:
    """Neither one that moves, nor one with nothing to do, nor one of another consumer."""
    watch = StallWatch()
    for now_s in range(0, 70, 10):
        lags = [
            at(ZERO, 5, 9),
            at(ONE, now_s, now_s + 3),
            at(Partition(TOPIC, 2), 4, 4),
            at(Partition(TOPIC, 3), 0, 9),
        ]
        watch.observe(lags, {ZERO, ONE, Partition(TOPIC, 2)}, now_s=now_s)

    (stall,) = watch.stalled(after_s=60.0, now_s=60.0)
    assert (ZERO, 4, 60.0) == (stall.partition, stall.behind, stall.for_s)
    watch.observe([at(ZERO, 6, 9)], {ZERO}, now_s=70.0)
    assert [] == watch.stalled(after_s=60.0, now_s=70.0)


def test_work_that_comes_after_a_quiet_hour_is_no_stall() -> None:
    """The time with nothing to do does not count."""
    watch = StallWatch()
    watch.observe([at(ZERO, 5, 5)], {ZERO}, now_s=0.0)
    watch.observe([at(ZERO, 5, 5)], {ZERO}, now_s=3_600.0)
    watch.observe([at(ZERO, 5, 6)], {ZERO}, now_s=3_605.0)

    assert [] == watch.stalled(after_s=60.0, now_s=3_605.0)
    assert 1 == len(watch.stalled(after_s=60.0, now_s=3_661.0))


def test_a_partition_that_comes_back_starts_anew() -> None:
    """What stood still at another consumer is not held against this one."""
    watch = StallWatch()
    watch.observe([at(ZERO, 5, 9)], {ZERO}, now_s=0.0)
    watch.observe([at(ZERO, 5, 9)], set(), now_s=50.0)
    watch.observe([at(ZERO, 5, 9)], {ZERO}, now_s=100.0)

    assert [] == watch.stalled(after_s=60.0, now_s=110.0)


def fetched(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=300) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_health_fails_while_a_partition_is_stalled_and_recovers() -> None:
    """A supervisor asks every few seconds; the answer names the partition."""
    now_s, reading = 0.0, [at(ZERO, 5, 9)]
    metrics = ConsumerMetrics()
    lookout = Lookout(metrics, lambda: reading, lambda: [ZERO], stall_after_s=30.0, steady_s=lambda: now_s)
    lookout.look()
    with serving(metrics, lookout, port=0) as port:
        assert 200 == fetched(port, "/healthz")[0]
        now_s = 31.0
        lookout.look()
        status, told = fetched(port, "/healthz")
        assert 503 == status
        assert f"{TOPIC}/0: 4 messages wait, none acknowledged for 31 s" in told
        assert "uniecs_stream_stalled_partitions 1.0" in fetched(port, "/metrics")[1]
        reading = [at(ZERO, 9, 9)]
        lookout.look()
        assert (200, "ok") == (
            fetched(port, "/healthz")[0],
            json.loads(fetched(port, "/healthz")[1])["status"],
        )
        assert 404 == fetched(port, "/")[0]
        with pytest.raises(InvalidSettings, match=f"--metrics-port {port}: Address already in use"):
            serving(metrics, lookout, port=port).__enter__()


def test_a_broker_that_does_not_answer_is_no_stall() -> None:
    """Starting the consumer again would not bring the broker back."""

    def away() -> list[PartitionLag]:
        raise LogUnavailable("away")

    metrics = ConsumerMetrics()
    lookout = Lookout(metrics, away, lambda: [ZERO], stall_after_s=1.0)
    lookout.look()

    healthy, told = lookout.health()
    assert healthy
    assert "does not answer" in str(told["status"])
    assert 0.0 == sample(metrics.text().decode(), "uniecs_stream_log_reachable")


def test_a_consumer_that_the_group_does_not_hear_is_stalled_although_it_has_nothing() -> None:
    """It takes nothing, so none of its partitions could stand still."""
    silent_s = 0.0
    lookout = Lookout(ConsumerMetrics(), list, list, stall_after_s=30.0, silent_s=lambda: silent_s)
    lookout.look()
    assert lookout.health()[0]

    silent_s = 31.0

    healthy, told = lookout.health()
    assert not healthy
    assert ["the group has not heard from this consumer for 31 s"] == told["stalled"]


def test_rates_tell_whether_a_group_catches_up() -> None:
    """Two readings, and what the next message has waited."""
    pace: Callable[..., GroupPace] = lambda after: GroupPace(  # noqa: E731 - short
        before=[at(ZERO, 0, 100)], after=[after], over_s=2.0, waiting={}
    )

    readings = at(ZERO, 60, 120), at(ZERO, 10, 140), at(ZERO, 100, 100)
    catching_up, falling_behind, idle = (pace(after).lines("g")[0] for after in readings)

    assert "g: 60 messages behind; 10.0/s come, 30.0/s are done: caught up in 3 s" == catching_up
    assert falling_behind.endswith("20.0/s come, 5.0/s are done: not catching up")
    assert idle.endswith("0 messages behind; 0.0/s come, 50.0/s are done")
    assert [3.0, None, 0.0] == [pace(after).figures("g")["caught_up_in_s"] for after in readings]


def test_what_waits_is_told_by_its_age(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets say how many; a person asks how long."""
    monkeypatch.setattr("streaming.pace.LOOK_S", 300.0)
    for number in range(20):
        put(bench.topics, change_json(f"p-{number}"), key=f"p-{number}")
    bench.topics.committed["g", ZERO] = len(bench.topics.held(ZERO))
    reader = InMemoryTopicReader(bench.topics, [TOPIC], group="g")

    waiting = oldest_waiting(reader)
    pace = GroupPace(before=lag(reader), after=lag(reader), over_s=1.0, waiting=waiting)
    now_s = (NOON + timedelta(seconds=150)).timestamp()
    lines, figures = pace.lines("g", now_s=now_s), pace.figures("g", now_s=now_s)

    assert {ONE: 0} == {partition: message.offset for partition, message in waiting.items()}
    assert lines[2].endswith("behind, the next waits 2.5 min")
    assert [None, 150.0] == [one["next_waits_s"] for one in figures["partitions"]]


def test_status_asks_a_consumer_for_its_freshness(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person or a monitor; a consumer without a port is told how to get one."""
    monkeypatch.setattr("streaming.pace.METRICS_TIMEOUT_S", 300.0)
    metrics = worked(bench)
    lookout = Lookout(metrics, list, list, stall_after_s=1.0)
    with serving(metrics, lookout, port=0) as port:
        spreads = ask_freshness(port)
    assert "  new: 1 changes, half within 60 s, 99% within 60 s" == freshness_lines(spreads)[1]
    assert {"outcome": "new", "count": 1, "half_within_s": 60.0, "most_within_s": 60.0} == (
        freshness_figures(spreads)[0]
    )
    with pytest.raises(LogUnavailable, match=f"start the consumer with --metrics-port {port}"):
        ask_freshness(port)


def existing(bench: Bench) -> set[str]:
    metrics = worked(bench)
    metrics.lagged([at(ZERO, 5, 9)], stalled=0)
    names = set()
    for line in metrics.text().decode().splitlines():
        if not line.startswith("#"):
            names.add(re.split(r"[{ ]", line)[0])
    return names


@pytest.mark.parametrize("name", ["streaming.json", "alerts.yaml"])
def test_dashboard_and_alerts_ask_only_for_figures_that_exist(name: str, bench: Bench) -> None:
    """A panel of a figure that nobody tells is empty for ever, an alert on it silent."""
    asked = set(re.findall(r"uniecs_stream_\w+", (GRAFANA / name).read_text(encoding="utf-8")))

    assert asked
    assert set() == asked - existing(bench)


def test_dashboard_and_alerts_are_whole(bench: Bench) -> None:
    """Every panel asks something, every alert says what to do; labels and classes are ours."""
    dashboard = json.loads((GRAFANA / "streaming.json").read_text(encoding="utf-8"))
    (group,) = yaml.safe_load((GRAFANA / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    panels = dashboard["panels"]

    assert len(panels) == len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels})
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in group["rules"])
    told = json.dumps(panels) + json.dumps(group)
    classes = {one for found in re.findall(r'outcome=~\\+"([^"\\]+)', told) for one in found.split("|")}
    known = {
        "new",
        "text",
        "picture",
        "scalar",
        "unchanged",
        "delete",
        "stale",
        "superseded",
        "failed",
        "poison",
    }
    assert classes <= known
    shown = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in existing(bench)
    }
    assert {one for one in shown if not one.endswith("_created")} == {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        for name in re.findall(r"uniecs_stream_\w+", told)
    }
