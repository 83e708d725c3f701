"""Journey (d): what was served and what it did become one page with a verdict."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.events.event_json import to_json
from experiments.events.json_lines_log import JsonLinesEventLog
from experiments.exposure import Exposure, Outcome, ServedProduct, event_id
from experiments.weekly import collect_aggregates, publish_report
from streaming.archive import Archiver
from streaming.archive_lines import LineEvents
from streaming.archive_topics import TopicEvents
from streaming.change_log import MessageSink, Outgoing
from streaming.in_memory import InMemoryTopicReader, InMemoryTopics

from .conftest import Parts

SHOPPERS = 600
# Chance to click; so far apart that no verdict is luck.
CLICKS = {"control": 0.2, "treatment": 0.5}


def test_four_weeks_of_logs_become_a_decision(parts: Parts, tmp_path: Path) -> None:
    """Events go through the topics and the archive; the page names the winner and may be trusted."""
    experiment = load_experiments(None)["uniecs-recall"]
    exposures, outcomes = parts.topic("search-exposures"), parts.topic("search-outcomes")
    send(parts.sink, experiment, exposures, outcomes)

    reader = parts.reader([exposures, outcomes])
    archiver = Archiver(
        TopicEvents(reader, {exposures: "exposures", outcomes: "outcomes"}), tmp_path / "logs"
    )
    archiver.run(stop=lambda: False, until_caught_up=True)
    until = experiment.start + timedelta(weeks=4)
    aggregates = collect_aggregates(experiment, tmp_path / "logs", tmp_path / "reports", until=until)
    result, written = publish_report(experiment, aggregates, tmp_path / "reports")

    ctr = next(row for row in result["comparisons"] if row["metric"] == "ctr")
    assert result["sample_ratio"]["ok"]
    assert SHOPPERS * 3 == sum(arm["searches"] for arm in result["arms"])
    assert 0 < ctr["lift_low"] < 1.5 < ctr["lift_high"]
    assert "ship" == result["verdict"]["word"]
    assert "uniecs-recall" in written.page.read_text(encoding="utf-8")


def test_a_shop_without_kafka_gets_the_same_page(tmp_path: Path) -> None:
    """The same events in the JSON Lines of two workers: the same aggregates, the same page, byte for byte."""
    experiment = load_experiments(None)["uniecs-recall"]
    topics = InMemoryTopics()
    send(topics, experiment, "search-exposures", "search-outcomes")
    workers = [JsonLinesEventLog(tmp_path / "events", rotate_bytes=400_000) for _ in range(2)]
    for number, event in enumerate(events(experiment)):
        if isinstance(event, Exposure):
            workers[number % 2].exposed(event)
        else:
            workers[number % 2].happened(event)
    for worker in workers:
        worker.close(timeout_s=60)
    assert [0, 0] == [worker.dropped for worker in workers]

    reader = InMemoryTopicReader(topics, ["search-exposures", "search-outcomes"])
    sources = {
        "kafka": TopicEvents(reader, {"search-exposures": "exposures", "search-outcomes": "outcomes"}),
        "files": LineEvents(tmp_path / "events"),
    }
    pages = []
    for name, source in sources.items():
        logs, reports = tmp_path / name / "logs", tmp_path / name / "reports"
        Archiver(source, logs).run(stop=lambda: False, until_caught_up=True)
        until = experiment.start + timedelta(weeks=4)
        aggregates = collect_aggregates(experiment, logs, reports, until=until)
        _, written = publish_report(experiment, aggregates, reports)
        pages.append((aggregates.read_bytes(), written.page.read_bytes()))

    assert len(list((tmp_path / "events").glob("exposures-*.jsonl"))) > 2, "they were rotated"
    assert pages[0] == pages[1]


def events(experiment: Experiment) -> Iterator[Exposure | Outcome]:
    """Four weeks: what was served, and what it did."""
    rng = Random(7)
    for number in range(SHOPPERS):
        unit = f"shopper-{number}"
        moment = experiment.start + timedelta(days=number % 28, hours=9)
        variant = assign(experiment, unit, now=moment).variant
        for search in range(3):
            exposure = Exposure(
                event_id=event_id(
                    "exposed", experiment.name, experiment.phase, unit, "s1", f"{unit}-{search}"
                ),
                experiment=experiment.name,
                variant=variant,
                unit_id=unit,
                session_id="s1",
                query_id=f"{unit}-{search}",
                query="red mug",
                query_kind="text",
                occurred_at=moment + timedelta(minutes=search),
                served=(
                    ServedProduct(
                        product_id="mug", position=1, channels=("base",), rank_per_channel={"base": 1}
                    ),
                ),
                latency_ms=5.0,
            )
            # Twice, as a retry may: the id makes it one.
            yield from (exposure, exposure)
            if rng.random() < CLICKS[variant]:
                yield Outcome(
                    event_id=event_id("click", unit, f"{unit}-{search}", "mug"),
                    kind="click",
                    unit_id=unit,
                    occurred_at=moment + timedelta(minutes=search, seconds=20),
                    product_id="mug",
                    query_id=f"{unit}-{search}",
                    position=1,
                )


def send(sink: MessageSink, experiment: Experiment, exposures: str, outcomes: str) -> None:
    """Write them to their topics."""
    sink.send(
        [
            Outgoing(
                topic=exposures if isinstance(event, Exposure) else outcomes,
                key=event.unit_id.encode(),
                value=to_json(event),
            )
            for event in events(experiment)
        ]
    )
