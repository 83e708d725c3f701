"""Journey (d): what was served and what it did become one page with a verdict."""

from datetime import timedelta
from pathlib import Path
from random import Random

from experiments.assignment import assign
from experiments.definition import load_experiments
from experiments.exposure import (
    Exposure,
    Outcome,
    ServedProduct,
    event_id,
    exposure_to_json,
    outcome_to_json,
)
from experiments.weekly import collect_aggregates, publish_report
from streaming.archive import Archiver
from streaming.change_log import Outgoing

from .conftest import Parts

SHOPPERS = 600
# Chance to click; so far apart that no verdict is luck.
CLICKS = {"control": 0.2, "treatment": 0.5}


def test_four_weeks_of_logs_become_a_decision(parts: Parts, tmp_path: Path) -> None:
    """Events go through the topics and the archive; the page names the winner and may be trusted."""
    experiment = load_experiments(None)["uniecs-recall"]
    exposures, outcomes = parts.topic("search-exposures"), parts.topic("search-outcomes")
    rng = Random(7)
    messages = []
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
            messages += [Outgoing(topic=exposures, key=unit.encode(), value=exposure_to_json(exposure))] * 2
            if rng.random() < CLICKS[variant]:
                click = Outcome(
                    event_id=event_id("click", unit, f"{unit}-{search}", "mug"),
                    kind="click",
                    unit_id=unit,
                    occurred_at=moment + timedelta(minutes=search, seconds=20),
                    product_id="mug",
                    query_id=f"{unit}-{search}",
                    position=1,
                )
                messages.append(Outgoing(topic=outcomes, key=unit.encode(), value=outcome_to_json(click)))
    parts.sink.send(messages)

    archiver = Archiver(
        parts.reader([exposures, outcomes]), tmp_path / "logs", {exposures: "exposures", outcomes: "outcomes"}
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
