"""Logs as they should not be: the page comes out with a reason, or one sentence says why not."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.analysis import Result, analyse
from experiments.definition import Experiment
from experiments.errors import InvalidData
from experiments.metrics import Aggregates
from experiments.report import render, render_markdown, render_slack, to_json
from experiments.warehouse import collect

from .logs import Rows, exposure, outcome, shop

DAY = 24.0


def both(experiment: Experiment, units: int, hours: float = 1.0) -> Rows:
    return [
        exposure(experiment, f"u{n}", "treatment" if n % 2 else "control", hours=hours) for n in range(units)
    ]


def everyone_the_same(experiment: Experiment) -> tuple[Rows, Rows]:
    """Zero variance in everything but chance."""
    exposures = both(experiment, 60)
    return exposures, [outcome(experiment, f"u{n}", "click", hours=2) for n in range(60)]


def only_control(experiment: Experiment) -> tuple[Rows, Rows]:
    """An empty arm."""
    return [exposure(experiment, f"u{n}", "control", hours=1) for n in range(40)], [
        outcome(experiment, "u1", "click", hours=2)
    ]


def one_unit_each(experiment: Experiment) -> tuple[Rows, Rows]:
    return both(experiment, 2), [outcome(experiment, "u1", "click", hours=2)]


def nobody_does_anything(experiment: Experiment) -> tuple[Rows, Rows]:
    return both(experiment, 80), [outcome(experiment, "stranger", "click", hours=2)]


def money_of_a_trillion(experiment: Experiment) -> tuple[Rows, Rows]:
    """Yen of a whole company, and a refund as large."""
    outcomes = [
        outcome(experiment, f"u{n}", "order", hours=2, revenue=1e12 + n, currency="JPY") for n in range(300)
    ]
    refund = outcome(experiment, "u7", "order", hours=3, revenue=-1e12, currency="JPY")
    return both(experiment, 400), [*outcomes, refund]


def everything_returned(experiment: Experiment) -> tuple[Rows, Rows]:
    """Negative revenue: a lift over a control below zero."""
    return both(experiment, 300), [
        outcome(experiment, f"u{n}", "order", hours=2, revenue=-5.0 - n % 3) for n in range(300)
    ]


def not_a_number(experiment: Experiment) -> tuple[Rows, Rows]:
    """Latency that is not finite is no latency."""
    exposures = both(experiment, 80)
    for n, it in enumerate(exposures):
        it["latency_ms"] = float("nan") if n % 3 else float("inf")
    return exposures, [outcome(experiment, "u1", "click", hours=2)]


SHOPS = (
    everyone_the_same,
    only_control,
    one_unit_each,
    nobody_does_anything,
    money_of_a_trillion,
    everything_returned,
    not_a_number,
)


def analysed(experiment: Experiment, archive: Any, logs: tuple[Rows, Rows], **options: Any) -> Result:
    found = collect(experiment, archive(*logs), **options)
    return analyse(experiment, Aggregates.from_json(found.to_json()))


@pytest.mark.parametrize("logs", SHOPS, ids=lambda it: it.__name__)
def test_the_page_comes_out_and_says_why_a_number_is_missing(
    experiment: Experiment, archive: Any, logs: Any
) -> None:
    """Never NaN, never a crash: where a number is missing there is a reason."""
    found = analysed(experiment, archive, logs(experiment))

    assert json.loads(to_json(found))
    for form in (render, render_markdown, render_slack):
        assert " nan" not in form(found).lower()
        assert "infinity" not in form(found).lower()
    for row in found["comparisons"]:
        assert row["p_value"] is not None or row["reason"]


def test_digits_survive_a_trillion(experiment: Experiment, archive: Any) -> None:
    """Units that differ by 1 beside 1e12: the mean to 16 digits."""
    found = analysed(experiment, archive, money_of_a_trillion(experiment))
    row = next(it for it in found["comparisons"] if it["metric"] == "revenue_per_shopper")
    control = sum(1e12 + n for n in range(0, 300, 2)) / 200

    assert control == pytest.approx(row["control_value"], rel=1e-15)


def test_half_a_week_of_logs_is_shown(experiment: Experiment, archive: Any) -> None:
    """The archiver stood still on Wednesday: the other days are named, and the page is made."""
    exposures, outcomes = shop(experiment, units=400, seed=4, days=3)
    found = analysed(experiment, archive, (exposures, outcomes), until=experiment.start + timedelta(days=7))
    check = next(it for it in found["checks"] if it["name"] == "days")

    assert "warn" == check["status"]
    assert 4 == check["figures"]["silent_days"]
    assert "2026-01-08" in check["sentence"]


def test_clocks_out_of_order_and_strangers_are_counted(experiment: Experiment, archive: Any) -> None:
    """Left out, and said so."""
    exposures = both(experiment, 100, hours=48)
    early = [outcome(experiment, f"u{n}", "click", hours=47) for n in range(30)]
    strangers = [outcome(experiment, f"x{n}", "click", hours=50) for n in range(20)]
    found = analysed(experiment, archive, (exposures, early + strangers))
    sentences = {it["name"]: it["sentence"] for it in found["checks"]}

    assert "30 outcomes come before the first search" in sentences["clocks"]
    assert "20 of 50 outcomes (40.0%)" in sentences["outcomes_without_exposure"]
    assert {"warn"} == {it["status"] for it in found["checks"] if it["name"] == "clocks"}


def test_text_in_a_number_column_is_one_sentence(experiment: Experiment, archive: Any) -> None:
    """Revenue as text, of which one is no number."""
    logs = archive(both(experiment, 4), [outcome(experiment, "u1", "order", hours=2, revenue=5.0)])
    file = next((logs / "outcomes").glob("*/*.parquet"))
    rows = pq.read_table(file, partitioning=None)
    place = rows.schema.get_field_index("revenue")
    pq.write_table(rows.set_column(place, "revenue", pa.array(["five"])), file)

    with pytest.raises(InvalidData, match=r"\Athe logs cannot be analysed.*five.*\Z"):  # and on one line
        collect(experiment, logs)


def test_an_aggregates_file_of_another_version_is_one_sentence(month_file: Path) -> None:
    """Made before the cuts were kept: scan again."""
    older = json.loads(month_file.read_text(encoding="utf-8"))
    del older["cuts"]

    with pytest.raises(InvalidData, match="make it again with this version"):
        Aggregates.from_json(json.dumps(older))


@pytest.fixture
def month_file(experiment: Experiment, archive: Any, tmp_path: Path) -> Path:
    """Aggregates of a few shoppers."""
    file = tmp_path / "a.json"
    exposures, outcomes = one_unit_each(experiment)
    file.write_text(collect(experiment, archive(exposures, outcomes)).to_json(), encoding="utf-8")
    return file


def test_a_channel_that_takes_its_time_is_no_wonder(experiment: Experiment, archive: Any) -> None:
    """Treatment asks somebody, control nobody: many times as long is what everybody expects."""
    exposures, outcomes = shop(experiment, units=400, seed=3)
    for it in exposures:
        it["latency_ms"] *= 20 if it["variant"] == "treatment" else 1
    found = json.loads(to_json(analysed(experiment, archive, (exposures, outcomes))))
    (wonder,) = [check for check in found["checks"] if check["name"] == "twyman"]
    (speed,) = [one for one in found["comparisons"] if one["metric"] == "latency_per_search"]

    assert 10 < speed["lift"]
    assert "ok" == wonder["status"], wonder
