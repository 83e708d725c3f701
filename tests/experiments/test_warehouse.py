"""From archived events to aggregates: every row counts once, or is counted among those that do not."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.definition import Experiment
from experiments.errors import InvalidData
from experiments.metrics import Aggregates
from experiments.scan.unit_query import ARMS
from experiments.warehouse import collect
from tests.experiments.logs import exposure, outcome, shop, write_archive

DAY = 24.0


def total(aggregates: Aggregates, variant: str, column: str) -> float:
    moments = aggregates.looks[-1].moments[variant]
    return round(moments.mean(column) * moments.count, 9)


def test_outcomes_meet_the_searches_they_followed(experiment: Experiment, archive: Any) -> None:
    """One row per shopper: what it did after it was served, in its own variant."""
    logs = archive(
        [
            exposure(experiment, "ann", "control", hours=1),
            exposure(experiment, "ann", "control", hours=30, served=[], degraded=True),
            exposure(experiment, "bob", "treatment", hours=2, latency_ms=40.0),
        ],
        [
            outcome(experiment, "ann", "click", hours=1.1),
            outcome(experiment, "ann", "order", hours=31, revenue=20.5),
            outcome(experiment, "bob", "click", hours=2.1),
            outcome(experiment, "bob", "add_to_cart", hours=2.2),
            outcome(experiment, "bob", "order", hours=3, revenue=-4.25),
        ],
    )
    found = collect(experiment, logs)
    ann, bob = found.arms

    assert ("control", 1, 2, 1, 0, 1, 20.5) == (
        ann.variant, ann.units, ann.searches, ann.clicks, ann.add_to_carts, ann.orders, ann.revenue,
    )  # fmt: skip
    assert ("treatment", 1, 1, 1, 1, 1, -4.25) == (
        bob.variant, bob.units, bob.searches, bob.clicks, bob.add_to_carts, bob.orders, bob.revenue,
    )  # fmt: skip
    assert (0.5, 0.5, 0.0) == (ann.degraded_share, ann.empty_share, ann.triggered_share)
    assert (40.0, 40.0) == (bob.latency_p50_ms, bob.latency_p95_ms)
    assert 20.0 == total(found, "control", "latency_ms")
    assert ("EUR",) == found.currencies
    assert {
        "2026-01-05": {"control": 1, "treatment": 1},
        "2026-01-06": {"control": 1},
    } == found.searches_per_day


def test_a_repeated_event_counts_once(experiment: Experiment, archive: Any) -> None:
    """Delivery is at least once; ids make it exactly once."""
    seen, clicked = (
        exposure(experiment, "ann", "control", hours=1),
        outcome(experiment, "ann", "click", hours=2),
    )
    found = collect(experiment, archive([seen, seen, seen], [clicked, clicked]))

    assert (1, 1) == (found.arms[0].searches, found.arms[0].clicks)
    assert (2, 1) == (found.counts.exposure_repeats, found.counts.outcome_repeats)


def test_a_unit_served_two_variants_is_in_neither(experiment: Experiment, archive: Any) -> None:
    """Nobody can say which of them made it click."""
    found = collect(
        experiment,
        archive(
            [
                exposure(experiment, "ann", "control", hours=1),
                exposure(experiment, "ann", "treatment", hours=2),
                exposure(experiment, "bob", "treatment", hours=2),
            ],
            [outcome(experiment, "ann", "click", hours=3)],
        ),
    )

    assert (2, 1, 1) == (
        found.counts.units,
        found.counts.crossed_units,
        found.counts.outcomes_of_crossed_units,
    )
    assert [0, 1] == [arm.units for arm in found.arms]


def test_what_does_not_count_is_counted(experiment: Experiment, archive: Any) -> None:
    """Outcomes without, before or long after a search, other reasons, other variants, other times."""
    found = collect(
        experiment,
        archive(
            [
                exposure(experiment, "ann", "control", hours=10),
                exposure(experiment, "early", "control", hours=-1),
                exposure(experiment, "forced", "treatment", hours=2, reason="override"),
                exposure(experiment, "away", "control", hours=2, reason="not_in_traffic"),
                exposure(experiment, "odd", "purple", hours=2),
                exposure(replace(experiment, name="another"), "other", "control", hours=2),
            ],
            [
                outcome(experiment, "ann", "click", hours=9),
                outcome(experiment, "ann", "click", hours=10 + 7 * DAY),
                outcome(experiment, "ann", "order", hours=10.1 + 7 * DAY, revenue=9.0),
                outcome(experiment, "stranger", "click", hours=9),
                outcome(experiment, "early", "click", hours=-0.5),
            ],
        ),
        until=experiment.start + timedelta(days=14),
    )
    counts = found.counts

    assert {"not_in_traffic": 1, "override": 1} == counts.exposures_by_other_reason
    assert {"purple": 1} == counts.exposures_of_unplanned_variants
    assert (1, 1) == (counts.exposures_counted, counts.exposures_outside_window)
    assert (1, 1, 1, 1, 1) == (
        counts.outcomes_counted,
        counts.outcomes_before_exposure,
        counts.outcomes_too_late,
        counts.outcomes_without_exposure,
        counts.outcomes_outside_window,
    )
    assert 5 == counts.outcome_rows


def test_an_outcome_counts_from_the_last_search_before_it(experiment: Experiment, archive: Any) -> None:
    """Who comes back and searches again may also buy again."""
    logs = archive(
        [exposure(experiment, "ann", "control", hours=hours) for hours in (1, 10 * DAY)],
        [outcome(experiment, "ann", "order", hours=12 * DAY, revenue=5.0)],
    )
    found = collect(experiment, logs, until=experiment.start + timedelta(days=14))

    assert 1 == found.counts.outcomes_counted


def test_looks_add_up_and_weeks_stand_alone(experiment: Experiment, archive: Any) -> None:
    """Since the start, a shopper is one row, however many weeks it came."""
    found = collect(
        experiment,
        archive(
            [exposure(experiment, "ann", "control", hours=1 + week * 7 * DAY) for week in range(3)]
            + [exposure(experiment, "bob", "control", hours=8 * DAY)],
            [outcome(experiment, "ann", "click", hours=2 + 7 * DAY)],
        ),
    )

    assert [1, 2, 2] == [look.moments["control"].count for look in found.looks]
    assert [1, 2, 1] == [week.moments["control"].count for week in found.weeks]
    assert [0, 1, 0] == [
        week.moments["control"].mean("clicks") * week.moments["control"].count for week in found.weeks
    ]
    assert 1 == total(found, "control", "clicks")
    assert [7, 14, 15] == [(look.until - experiment.start).days for look in found.looks]


def test_nothing_after_the_planned_end_is_analysed(experiment: Experiment, archive: Any) -> None:
    """Running on until it looks good is not in the plan."""
    found = collect(
        experiment,
        archive(
            [exposure(experiment, "ann", "control", hours=hours) for hours in (1, 27 * DAY, 29 * DAY)],
            [outcome(experiment, "ann", "click", hours=2)],
        ),
    )

    assert experiment.planned_end == found.until
    assert 2 == found.counts.exposures_counted


def test_the_cap_is_one_for_all_and_never_zero(experiment: Experiment, archive: Any) -> None:
    """Among those who bought: with few buyers, a quantile of everybody would be nothing."""
    exposures = [
        exposure(experiment, f"u{n}", "control" if n % 2 else "treatment", hours=1) for n in range(200)
    ]
    outcomes = [outcome(experiment, f"u{n}", "order", hours=2, revenue=float(n + 1)) for n in range(9)]
    whale = outcome(experiment, "u9", "order", hours=2, revenue=1e6)
    found = collect(experiment, archive(exposures, [*outcomes, whale]))
    cap = found.caps["revenue@0.99"]

    assert 9 < cap < 1e6
    assert 1e6 + 20 == total(found, "control", "revenue")
    assert cap + 20 == pytest.approx(total(found, "control", "revenue@0.99"))
    assert 25 == pytest.approx(total(found, "treatment", "revenue@0.99"))


def test_the_order_of_files_and_rows_does_not_matter(experiment: Experiment, tmp_path: Path) -> None:
    """The same events give the same bytes, whoever wrote them in whatever order."""
    exposures, outcomes = shop(experiment, units=400, seed=8)
    one = write_archive(tmp_path / "one", exposures, outcomes)
    other = write_archive(tmp_path / "other", reversed(exposures), reversed(outcomes))
    (other / "exposures" / "day=2026-01-05" / "part-0.parquet").rename(other / "exposures" / "zz.parquet")

    first = collect(experiment, one).to_json()

    assert first == collect(experiment, other).to_json()
    assert first == Aggregates.from_json(first).to_json()


def test_huge_and_tiny_sums_of_money_are_exact(experiment: Experiment, archive: Any) -> None:
    """Decimals inside: a cent is not lost beside a trillion."""
    found = collect(
        experiment,
        archive(
            [exposure(experiment, "ann", "control", hours=1)],
            [
                outcome(experiment, "ann", "order", hours=2, revenue=1e12),
                outcome(experiment, "ann", "order", hours=3, revenue=0.01),
                outcome(experiment, "ann", "order", hours=4, revenue=-1e12),
            ],
        ),
    )

    assert 0.01 == found.arms[0].revenue


def _empty_file(logs: Path) -> None:
    (logs / "outcomes" / "day=2026-01-05" / "part-1.parquet").touch()


def _no_outcomes(logs: Path) -> None:
    shutil.rmtree(logs / "outcomes")


def _no_variant(logs: Path) -> None:
    file = next((logs / "exposures").glob("*/*.parquet"))
    pq.write_table(pq.read_table(file, partitioning=None).drop(["variant"]), file)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_empty_file, r"part-1.parquet \(0 bytes\) is not readable Parquet"),
        (_no_outcomes, "no Parquet files under .*outcomes; archive the outcomes first"),
        (_no_variant, "has no column 'variant'; exposures need event_id"),
    ],
)
def test_logs_that_cannot_be_read_are_refused_by_name(
    experiment: Experiment, archive: Any, spoil: Callable[[Path], None], sentence: str
) -> None:
    """Half the logs would give half the truth."""
    logs = archive(
        [exposure(experiment, "ann", "control", hours=1)], [outcome(experiment, "ann", "click", hours=2)]
    )
    spoil(logs)

    with pytest.raises(InvalidData, match=sentence):
        collect(experiment, logs)


def test_files_still_being_written_are_left_alone(experiment: Experiment, archive: Any) -> None:
    """The archiver writes under a hidden name and renames."""
    logs = archive(
        [exposure(experiment, "ann", "control", hours=1)], [outcome(experiment, "ann", "click", hours=2)]
    )
    (logs / "exposures" / "day=2026-01-05" / ".part-1.parquet").touch()

    assert 1 == collect(experiment, logs).counts.exposures_counted


def test_a_window_without_exposures_says_what_the_logs_hold(experiment: Experiment, archive: Any) -> None:
    """Most often the definition's start is not the logs'."""
    logs = archive(
        [exposure(experiment, "ann", "control", hours=-48)], [outcome(experiment, "ann", "click", hours=-47)]
    )

    with pytest.raises(InvalidData, match=r"from 2026-01-03T00:00:00.*check the definition's start"):
        collect(experiment, logs, until=experiment.start + timedelta(days=7))
    with pytest.raises(InvalidData, match="nothing to report until 2026-01-04"):
        collect(experiment, logs)
    with pytest.raises(InvalidData, match="no exposure of experiment 'other'"):
        collect(replace(experiment, name="other"), logs)


def test_latencies_are_told_as_numpy_tells_them_without_holding_every_search() -> None:
    """From how often each hundredth of a millisecond occurs; all of them do not fit in memory."""
    draws = np.random.default_rng(7)
    latencies = [
        None if n % 9 == 0 else round(float(ms), 2) for n, ms in enumerate(draws.lognormal(3, 1, 501))
    ]
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE unit AS SELECT 'u' AS unit_id, 'treatment' AS variant, false AS crossed"
        )
        connection.execute("CREATE TABLE search (unit_id VARCHAR, latency_ms DOUBLE, triggered BOOLEAN)")
        connection.executemany(
            "INSERT INTO search VALUES ('u', ?, ?)", [(ms, n % 4 == 0) for n, ms in enumerate(latencies)]
        )
        ((variant, half, most, triggered),) = connection.execute(ARMS).fetchall()

    known = [ms for ms in latencies if ms is not None]
    assert ("treatment", 126 / 501) == (variant, triggered)
    assert (half, most) == pytest.approx((np.quantile(known, 0.5), np.quantile(known, 0.95)))
