"""The other commands: power, A/A by the thousand, interleaving, and the report's week."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.errors import InvalidData, UnknownExperiment
from experiments.experiment import Metric
from experiments.inference import compare
from experiments.interleaving import compare_interleaved
from experiments.plan.power import Design, power_of, smallest_lift, units_needed
from experiments.settings import week_end
from experiments.tables.again import p_values, repeat_a_a
from experiments.tables.formula import read_formulas

from .tables import shoppers, write_csv
from .units import moments


def run(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("share", "tests"), [(0.5, 1), (0.2, 1), (0.5, 3)])
def test_the_units_a_lift_needs_are_statsmodels_units(share: float, tests: int) -> None:
    """On the log scale a lift of 5% of a metric with sd 8 times its mean is an effect of log 1.05 / 8."""
    design = Design(variation=8.0, share=share, tests=tests)
    in_control = NormalIndPower().solve_power(
        effect_size=np.log(1.05) / 8, alpha=0.05 / tests, power=0.8, ratio=share / (1 - share)
    )

    assert in_control / (1 - share) == pytest.approx(units_needed(design, 0.05), rel=1e-4)


def test_the_stated_power_is_the_power() -> None:
    """Revenue-like values with a planted lift, tested 2,000 times."""
    rng = np.random.default_rng(1)
    units = units_needed(Design(variation=1.0), 0.2)
    revenue = Metric(name="y", title="", role="primary", numerator="revenue")
    shown = []
    for _ in range(2_000):
        arms = [rng.exponential(size, units // 2) for size in (1.0, 1.2)]
        found = compare(revenue, *(moments({"revenue": arm}) for arm in arms), names=("A", "B"))
        shown.append(found.p_value is not None and found.p_value < 0.05)

    assert 0.8 == pytest.approx(np.mean(shown), abs=0.025)


@given(
    variation=st.floats(0.01, 1e4),
    lift=st.floats(-0.99, 1e5).filter(lambda it: abs(it) > 1e-6),
    units=st.integers(2, 10**12),
)
def test_power_is_always_a_number(variation: float, lift: float, units: int) -> None:
    """40% and 5,000 users give NaN elsewhere: the far tail of a noncentral t."""
    design = Design(variation=variation)

    assert 0.049 < power_of(design, lift, units) <= 1.0
    assert smallest_lift(design, units_needed(design, 0.05)) == pytest.approx(0.05, rel=0.3)


def test_power_by_command() -> None:
    """Both questions, and what cannot be asked."""
    assert 844_079 == run("power", "--mean", "3.75", "--sd", "30", "--lift", "0.05")["units"]
    assert 0.8 == pytest.approx(
        run("power", "--share", "0.05", "--lift", "0.05", "--units", "250632")["power"], abs=1e-3
    )
    for wrong in (["--lift", "0.05"], ["--share", "0.05"], ["--share", "2", "--lift", "0.1"]):
        with pytest.raises(InvalidData):
            run("power", *wrong)


def test_a_thousand_splits_of_nothing_alarm_one_time_in_twenty(tmp_path: Path) -> None:
    """Ratios, adjusted and capped revenue, from one reading of the table."""
    file = write_csv(tmp_path / "units.csv", shoppers(4_000, seed=1))
    metrics = ["--metric", "ctr=ratio(clicks,searches)", "--metric", "rev=mean(revenue)"]
    found = run("aa", str(file), *metrics, "--covariate", "rev=before", "--cap", "rev=0.99", "--runs", "400")

    assert [True, True] == [it["ok"] for it in found["metrics"]]
    assert [4_000, 4_000] == [it["units"] for it in found["metrics"]]


def test_rows_taken_for_units_are_found_out() -> None:
    """Ten rows of each shopper, split together but counted as ten: far too many alarms.

    What counting impressions does to click-through rate.
    """
    rng = np.random.default_rng(2)
    taste = np.repeat(rng.gamma(0.3, 1.0, 1_000), 10)
    rows = pa.table({"shopper": np.repeat(np.arange(1_000), 10), "y": taste})
    as_units = repeat_a_a(rows, formulas=read_formulas(["y=mean(y)"]), unit="shopper")["metrics"][0]
    tens = [moments({"y": ten}) for ten in taste.reshape(-1, 10)]  # each shopper a bucket of ten rows
    naive = p_values(read_formulas(["y=mean(y)"])[0], tens, runs=500, rng=rng)

    assert as_units["ok"]
    assert np.mean(naive < 0.05) > 0.3


def test_a_split_of_buckets_is_the_split_of_their_rows() -> None:
    """Merged moments give the p-value that the rows give; SciPy's Welch is the oracle."""
    rng = np.random.default_rng(3)
    y = rng.normal(0.5, 1.0, 1_200).reshape(40, 30)
    buckets = [moments({"y": bucket}) for bucket in y]
    found = p_values(read_formulas(["y=mean(y)"])[0], buckets, runs=100, rng=np.random.default_rng(4))
    again = np.random.default_rng(4)
    chosen = again.permutation(40)[:20]
    sides = np.isin(np.arange(40), chosen)
    difference = y[~sides].ravel(), y[sides].ravel()
    expected = stats.ttest_ind(*difference, equal_var=False).pvalue

    assert expected == pytest.approx(found[0], abs=0.02)  # near zero Welch's, else the log-ratio's


def test_interleaving_gives_each_unit_one_vote() -> None:
    """One shopper who clicks a thousand times is one vote; SciPy's exact binomial is the oracle."""
    votes = [(f"u{i}", 3, 1) for i in range(40)] + [(f"v{i}", 0, 1) for i in range(20)]
    votes += [("w", 1, 1)] * 5 + [("bot", 0, 1)] * 1_000
    names, ours, theirs = zip(*votes, strict=True)
    rows = pa.table({"unit": names, "new": ours, "old": theirs})
    found = compare_interleaved(rows, unit="unit", ours="new", theirs="old")
    test = stats.binomtest(40, 61)

    assert (40, 21, 1, 62) == tuple(found[it] for it in ("wins", "losses", "ties", "units"))
    assert test.pvalue == pytest.approx(found["p_value"])
    assert "new" == found["preferred"]
    assert list(test.proportion_ci(method="exact")) == pytest.approx(
        [found["preference_low"], found["preference_high"]]
    )


def test_interleaving_by_command_and_what_it_refuses(tmp_path: Path) -> None:
    """Nobody with a preference is no evidence."""
    rows = {"unit": ["a", "b", "c"], "new": [1, 0, 2], "old": [0, 1, 1]}
    found = run(
        "interleaving",
        str(write_csv(tmp_path / "a.csv", rows)),
        "--unit",
        "unit",
        "--ours",
        "new",
        "--theirs",
        "old",
    )

    assert found["preferred"] is None
    with pytest.raises(InvalidData, match="none of 3 units gave 'new' and 'old' different credit"):
        compare_interleaved(pa.table(rows | {"old": rows["new"]}), unit="unit", ours="new", theirs="old")


def test_a_week_is_until_the_monday_after_it() -> None:
    """ISO weeks, as the calendars of shops have them."""
    assert "2026-11-23T00:00:00+00:00" == week_end("2026-W47").isoformat()
    for wrong in ("2026-W54", "W47", "2026-47", "x-W1"):
        with pytest.raises(InvalidData, match="write one like 2026-W47"):
            week_end(wrong)


@pytest.mark.parametrize("command", [("report",), ("assign", "shopper-1"), ("override", "treatment")])
def test_a_command_means_the_experiment_that_decides_where_none_is_named(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has set RECALL_EXPERIMENT for the service is not told of another by the report."""
    monkeypatch.setenv("RECALL_EXPERIMENT", "ours")

    done = CliRunner().invoke(app, [*command])

    assert isinstance(done.exception, UnknownExperiment)
    assert str(done.exception).startswith("no experiment 'ours'; defined here: ")
