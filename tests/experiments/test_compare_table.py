"""Any table can be compared: the same numbers as from arrays in memory, whatever the file looks like."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.tables.comparison_text import as_text

from .tables import command, compare, shoppers, write_csv

LISTED = (
    *("metric", "control", "treatment", "n_control", "n_treatment", "control_value", "treatment_value"),
    *("difference", "difference_low", "difference_high", "lift", "lift_low", "lift_high"),
    *("statistic", "p_value", "p_adjusted"),
)


def test_the_command_prints_every_promised_key_and_ends_with_0(tmp_path: Path) -> None:
    """The shape other programs read; run as a shell runs it."""
    file = write_csv(tmp_path / "units.csv", shoppers(600, seed=1))
    done = shell(file, "--metric", "rev=mean(revenue)", "--metric", "ctr=ratio(clicks,searches)", "--json")

    assert 0 == done.returncode, done.stderr
    done_again, found = command(
        file, "--metric", "rev=mean(revenue)", "--metric", "ctr=ratio(clicks,searches)"
    )
    assert done.stdout == done_again.stdout
    assert {"p_value", "ok"} == set(found["sample_ratio"])
    assert found["verdict"] in ("ship", "hold", "stop", "broken")
    assert [set(LISTED)] * 2 == [set(LISTED) & set(it) for it in found["comparisons"]]


def test_a_wrong_request_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """A sentence for a person, no traceback."""
    file = write_csv(tmp_path / "units.csv", shoppers(60, seed=1))
    done = shell(file, "--metric", "rev=mean(income)")

    assert 2 == done.returncode
    assert "error: units.csv has no column 'income'; it has variant, before" in done.stderr
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize("form", ["csv", "bom and semicolons", "tabs", "gzip", "parquet", "arrow"])
def test_the_same_table_in_any_form_gives_the_same_numbers(tmp_path: Path, form: str) -> None:
    """A byte-order mark, another delimiter or another format change nothing."""
    columns = shoppers(400, seed=2)
    plain = write_csv(tmp_path / "plain.csv", columns)
    source: Any = {
        "csv": lambda: plain,
        "bom and semicolons": lambda: write_csv(tmp_path / "bom.csv", columns, mark=";", bom=True),
        "tabs": lambda: write_csv(tmp_path / "tabs.tsv", columns, mark="\t"),
        "gzip": lambda: packed(plain),
        "parquet": lambda: written(pa.table(columns), tmp_path / "units.parquet"),
        "arrow": lambda: pa.table(columns),
    }[form]()
    metrics = ("rev=mean(revenue)", "ctr=ratio(clicks,searches)", "cr=proportion(bought)")
    found = compare(source, *metrics)["comparisons"]
    expected = compare(plain, *metrics)["comparisons"]

    for ours, theirs in zip(found, expected, strict=True):
        for key, value in theirs.items():
            assert ours[key] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), key


def shell(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "experiments", "compare", str(file)]
    return subprocess.run(
        [*start, "--variant", "variant", "--control", "A", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )


def packed(plain: Path) -> Path:
    file = plain.with_suffix(".csv.gz")
    file.write_bytes(gzip.compress(plain.read_bytes()))
    return file


def written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path)
    return path


def test_a_variant_that_has_nothing_is_shown_without_an_interval() -> None:
    """`-100.00% to -100.00%` would claim to know it to the last digit."""
    columns = shoppers(300, seed=5)
    columns["revenue"] = [
        value * (arm == "A") for arm, value in zip(columns["variant"], columns["revenue"], strict=True)
    ]
    shown = as_text(compare(pa.table(columns), "rev=mean(revenue)"))

    assert "-100.00%  no interval can be given, as B has nothing at all" in shown
    assert "-100.0% to" not in shown.replace("\N{MINUS SIGN}", "-")


def test_holm_runs_over_metrics_and_treatments() -> None:
    """Two treatments and two metrics are one family of four; statsmodels is the oracle."""
    found = compare(
        pa.table(shoppers(900, seed=3, variants="ABC")), "rev=mean(revenue)", "ctr=ratio(clicks,searches)"
    )["comparisons"]

    assert [("B", "rev"), ("B", "ctr"), ("C", "rev"), ("C", "ctr")] == [
        (it["treatment"], it["metric"]) for it in found
    ]
    expected = multipletests([it["p_value"] for it in found], method="holm")[1]
    assert list(expected) == pytest.approx([it["p_adjusted"] for it in found])


def test_segments_are_cut_and_corrected_by_benjamini_and_hochberg() -> None:
    """Each segment is the same comparison of its own units."""
    columns = shoppers(900, seed=4) | {"country": np.array(["DE", "FR", "IT"] * 300)}
    found = compare(pa.table(columns), "rev=mean(revenue)", segments=["country"])["segments"]
    only_french = {name: cells[columns["country"] == "FR"] for name, cells in columns.items()}
    french = compare(pa.table(only_french), "rev=mean(revenue)")["comparisons"][0]

    assert ["DE", "FR", "IT"] == [it["value"] for it in found]
    assert french["lift"] == pytest.approx(found[1]["lift"], rel=1e-12)
    assert french["p_value"] == pytest.approx(found[1]["p_value"], rel=1e-9)
    expected = multipletests([it["p_value"] for it in found], method="fdr_bh")[1]
    assert list(expected) == pytest.approx([it["p_adjusted"] for it in found])


def test_rows_of_a_unit_are_added_up_before_anything_is_compared() -> None:
    """Days of a shopper are one shopper; a covariate that is hers is taken once."""
    columns = shoppers(500, seed=5)
    days = {name: np.repeat(cells, 2) for name, cells in columns.items()}
    days["revenue"] = days["revenue"] / 2  # halves are exact
    days["shopper"] = np.repeat(np.arange(500), 2)
    whole = compare(pa.table(columns), "rev=mean(revenue)", covariates=["rev=before"])["comparisons"][0]
    found = compare(pa.table(days), "rev=mean(revenue)", covariates=["rev=before"], unit="shopper")
    by_day = found["comparisons"][0]

    assert {"A": whole["n_control"], "B": whole["n_treatment"]} == found["units"]
    for key in ("control_value", "treatment_value", "difference", "lift_low", "lift_high", "p_value"):
        assert whole[key] == pytest.approx(by_day[key], rel=1e-9)


def test_a_capped_metric_shows_its_cap_and_the_raw_one_beside_it() -> None:
    """One cap for all variants, from the units that have any; NumPy's quantile is the oracle."""
    columns = shoppers(800, seed=6)
    found = compare(pa.table(columns), "rev=mean(revenue)", caps=["rev=0.99"])
    it = found["comparisons"][0]
    cap = np.quantile(columns["revenue"][columns["revenue"] > 0], 0.99)
    control = columns["revenue"][columns["variant"] == "A"]
    plain = compare(pa.table(columns), "rev=mean(revenue)")["comparisons"][0]

    assert cap == pytest.approx(it["cap"], rel=1e-12)
    assert np.minimum(control, cap).mean() == pytest.approx(it["control_value"], rel=1e-12)
    assert plain["lift"] == pytest.approx(it["raw"]["lift"], rel=1e-12)
    assert any(f"totals above {cap:,.6g} count as that" in line for line in found["conventions"])
    fixed = compare(pa.table(columns), "rev=mean(revenue)", caps=["rev=100"])["comparisons"][0]
    assert 100.0 == fixed["cap"]
    assert np.minimum(control, 100).mean() == pytest.approx(fixed["control_value"], rel=1e-12)


def test_a_broken_sample_ratio_names_no_winner() -> None:
    """A lift of 60% and not a word about it in the headline."""
    rows = {"variant": ["A"] * 1_200 + ["B"] * 800, "y": [1.0, 3.0] * 600 + [3.0, 5.0] * 400}
    found = compare(pa.table(rows), "y=mean(y)")
    planned = compare(pa.table(rows), "y=mean(y)", split="3:2")

    assert not found["sample_ratio"]["ok"]
    assert "broken" == found["verdict"]
    assert "B" not in found["headline"]
    assert planned["sample_ratio"]["ok"]
    assert "ship" == planned["verdict"]
    lower = compare(pa.table(rows), "y=mean(y)", split="A=3,B=2", lower_is_better=["y"])
    assert "stop" == lower["verdict"]


def test_what_is_missing_more_often_in_one_variant_breaks_the_comparison() -> None:
    """Revenue that is empty for those who bought nothing is another question than revenue per unit."""
    rng = np.random.default_rng(7)
    rows = {"variant": ["A", "B"] * 2_000, "y": rng.gamma(2, 5, 4_000)}
    rows["y"][rng.random(4_000) < 0.1] = np.nan
    even = compare(pa.table(rows), "y=mean(y)")
    rows["y"][1:800:2] = np.nan
    uneven = compare(pa.table(rows), "y=mean(y)")

    assert "warn" == next(it["status"] for it in even["checks"] if it["name"] == "missing")
    assert "broken" == uneven["verdict"]
    assert "Uneven between variants" in uneven["reasons"][0]


def test_units_that_were_unlike_before_the_start_break_the_comparison() -> None:
    """A covariate cannot be moved by the treatment; if it differs, the split is at fault."""
    columns = shoppers(1_000, seed=8)
    columns["before"] = columns["before"] * np.where(columns["variant"] == "B", 1.3, 1.0)
    found = compare(pa.table(columns), "rev=mean(revenue)", covariates=["rev=before"])

    assert "broken" == found["verdict"]
    assert "the variants already differed: before between A and B" in found["reasons"][0]


def test_a_whale_a_tail_and_a_wonder_are_pointed_out() -> None:
    """Warnings leave the verdict alone; they say where to look."""
    rng = np.random.default_rng(9)
    rows = {"variant": np.array(["A", "B"] * 300), "y": rng.gamma(2, 5, 600)}
    rows["y"][1] = 50_000.0
    whale = {it["name"]: it for it in compare(pa.table(rows), "y=mean(y)")["checks"]}
    rows["y"][1] = 5.0
    rows["y"][rows["variant"] == "B"] *= 2
    wonder = {it["name"]: it for it in compare(pa.table(rows), "y=mean(y)")["checks"]}

    assert "warn" == whale["skewness"]["status"]
    assert "warn" == whale["influence"]["status"]
    assert "The largest unit of B moves y by 1.0 standard errors" in whale["influence"]["sentence"]
    assert "warn" == wonder["twyman"]["status"]
    assert "ok" == wonder["influence"]["status"]


def test_the_tail_is_measured_as_scipy_measures_it() -> None:
    """355 times the square of the skewness, of the variant with the longer tail (Kohavi et al. 2014)."""
    columns = shoppers(800, seed=16)
    checks = compare(pa.table(columns), "rev=mean(revenue)")["checks"]
    found = next(it for it in checks if it["name"] == "skewness")["figures"]["units_needed"]
    tails = [stats.skew(columns["revenue"][columns["variant"] == name]) for name in "AB"]

    assert 355 * max(tails) ** 2 == pytest.approx(found, rel=1e-9)


def test_the_text_says_what_the_json_says(tmp_path: Path) -> None:
    """For a person at a terminal."""
    file = write_csv(tmp_path / "units.csv", shoppers(600, seed=10) | {"s": np.array(["x", "y"] * 300)})
    arguments = ("--metric", "rev=mean(revenue)", "--cap", "rev=0.99", "--covariate", "rev=before")
    done = CliRunner().invoke(
        app, ["compare", str(file), "--variant", "variant", "--control", "A", *arguments, "--segment", "s"]
    )

    assert 0 == done.exit_code
    assert "rev is capped at" in done.stdout
    assert "which saves" in done.stdout
    assert "s = x" in done.stdout
    assert "May it be trusted?" in done.stdout
