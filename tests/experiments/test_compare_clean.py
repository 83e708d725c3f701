"""A clean table is read once; what comes out is what the careful way finds, to the last digits."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests

from experiments.metrics import Moments
from experiments.tables import table
from experiments.tables.comparing import holm
from experiments.tables.formula import Formula, read_formulas
from experiments.tables.scanned import TableScan
from experiments.tables.table import scan_table

from .tables import Columns, shoppers

WANTED = read_formulas(
    [
        *("ctr=ratio(clicks,searches)", "bought=proportion(bought)"),
        *("revenue=mean(revenue)", "capped=mean(revenue)", "lower=mean(revenue)", "fixed=mean(revenue)"),
        *("searches=mean(searches)", "few=mean(searches)"),
    ],
    covariates=["revenue=before", "lower=before", "ctr=before"],
    caps=["capped=0.999", "lower=0.9", "fixed=50", "few=0.95"],
)


def write(path: Path, columns: Columns) -> Path:
    pq.write_table(pa.table(dict(columns)), path)
    return path


def quick(source: Path | object, formulas: Sequence[Formula] = WANTED, **options: Any) -> TableScan:
    """The scan in one pass, which must not have given up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_Scan", None)
        return scan_table(source, variant="variant", formulas=formulas, **options)


def careful(source: Path | object, formulas: Sequence[Formula] = WANTED, **options: Any) -> TableScan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "scan_clean", lambda *_: None)
        return scan_table(source, variant="variant", formulas=formulas, **options)


@pytest.mark.parametrize("segments", [(), ("country",), ("country", "device")])
@pytest.mark.parametrize("variants", ["AB", "ABC"])
def test_one_pass_finds_what_the_careful_way_finds(
    tmp_path: Path, segments: tuple[str, ...], variants: str
) -> None:
    """Means, ratios, shares, covariates and caps, declared or by quantile, whole and in segments."""
    columns = shoppers(5_000, seed=1, variants=variants)
    columns["country"], columns["device"] = np.arange(5_000) % 7, np.arange(5_000) % 2
    columns["variant"] = np.where(np.arange(5_000) % 50 == 0, "", columns["variant"])
    file = write(tmp_path / "units.parquet", columns)

    one, other = quick(file, segments=segments), careful(file, segments=segments)

    assert (one.units, one.rows, one.unlabelled_rows) == (other.units, other.rows, other.unlabelled_rows)
    assert one.unlabelled_rows == 100
    assert one.caps == pytest.approx(other.caps, rel=1e-15)
    for mine, theirs in ((one.moments, other.moments), (one.raw, other.raw)):
        assert mine.keys() == theirs.keys()
        for key, of_variants in theirs.items():
            assert mine[key].keys() == of_variants.keys()
            for variant, moments in of_variants.items():
                alike(mine[key][variant], moments)
    for metric, shapes in one.shapes.items():
        for variant, shape in shapes.items():
            expected = other.shapes[metric][variant]
            assert shape.largest == pytest.approx(expected.largest, rel=1e-14)
            assert (shape.skewness is None) == (expected.skewness is None)
            assert (shape.skewness or 0) == pytest.approx(expected.skewness or 0, rel=1e-9)


def alike(one: Moments, other: Moments, *, rel: float = 1e-11) -> None:
    """Equal but for the last digits."""
    assert (one.columns, one.count) == (other.columns, other.count)
    assert one.means == pytest.approx(other.means, rel=rel)
    scale = [moment[place] ** 0.5 for place, moment in enumerate(other.comoments)]
    for i, row in enumerate(other.comoments):
        for j, expected in enumerate(row):
            assert one.comoments[i][j] == pytest.approx(expected, rel=rel, abs=rel * scale[i] * scale[j])


def test_first_rows_unlike_the_others_only_cost_a_second_look(tmp_path: Path) -> None:
    """A table in order of revenue: a guess from its first rows is of no use, and does no harm."""
    columns = shoppers(60_000, seed=2)
    order = np.argsort(columns["revenue"])
    for way in (order, order[::-1]):
        file = write(tmp_path / "sorted.parquet", {name: column[way] for name, column in columns.items()})

        found = quick(file)

        having = columns["revenue"][columns["revenue"] > 0]
        assert found.caps["capped"] == pytest.approx(np.quantile(having, 0.999), rel=1e-14)
        assert found.caps["lower"] == pytest.approx(np.quantile(having, 0.9), rel=1e-14)
        for variant, moments in careful(file).moments["lower", "", ""].items():
            alike(found.moments["lower", "", ""][variant], moments)


HARD: dict[str, list[float]] = {
    "a mean far from zero (NumAcc4)": [10_000_000.2, 10_000_000.1, 10_000_000.3] * 300,
    "large counts": list(range(10**9, 10**9 + 900)),
    "whole numbers beyond a double's digits": [2**60 + step for step in range(900)],
    "whole numbers whose squares are too large": [step * 10**16 for step in range(-450, 450)],
    "money of a nation": [1e12 + step * 0.01 for step in range(900)],
    "one whale": [*(float(step % 7) for step in range(899)), 1e7],
}


@pytest.mark.parametrize("case", HARD)
def test_no_digits_are_lost(case: str) -> None:
    """Against rational arithmetic over the very same numbers."""
    values = HARD[case]
    rows = pa.table({"variant": ["A", "B", "B"] * 300, "y": values})
    formulas = read_formulas(["y=mean(y)"])
    numbers = [Fraction(value) for place, value in enumerate(values) if place % 3]

    found = scan_table(rows, variant="variant", formulas=formulas).moments["y", "", ""]["B"]

    mean = sum(numbers) / len(numbers)
    assert found.means[0] == pytest.approx(float(mean), rel=1e-14)
    spread = float(sum((number - mean) ** 2 for number in numbers))
    assert found.comoments[0][0] == pytest.approx(spread, rel=1e-9 if "NumAcc4" in case else 1e-11)


def test_a_cap_that_cuts_nearly_everything_away_keeps_its_digits() -> None:
    """Subtracting whales from a sum would leave noise; such a table is read the careful way."""
    revenue: list[float] = [*(float(step % 7) for step in range(899)), 1e15]
    rows = pa.table({"variant": ["A", "B", "B"] * 300, "y": revenue})
    formulas = read_formulas(["y=mean(y)"], caps=["y=10"])

    found = scan_table(rows, variant="variant", formulas=formulas).moments["y", "", ""]["B"]

    capped = [min(value, 10.0) for place, value in enumerate(revenue) if place % 3]
    assert found.means[0] == pytest.approx(np.mean(capped), rel=1e-14)
    assert found.comoments[0][0] == pytest.approx(np.var(capped) * len(capped), rel=1e-13)


UNCLEAN: dict[str, list[Any]] = {
    "no value": [1.0, None, 3.0, 4.0, 5.0, 6.0],
    "no number": [1.0, float("nan"), 3.0, 4.0, 5.0, 6.0],
    "text": ["1", "NA", "3", "4", "5", "6"],
}


@pytest.mark.parametrize("case", UNCLEAN)
def test_a_gap_is_counted_and_told(case: str) -> None:
    """The quick way sees it in its sums and leaves the table to the careful one."""
    rows = pa.table({"variant": list("AABABB"), "y": UNCLEAN[case]})

    found = scan_table(rows, variant="variant", formulas=read_formulas(["y=mean(y)"]))

    assert found.missing == {"y": {"A": 1}}
    assert found.moments["y", "", ""]["A"].means[0] == pytest.approx(2.5)


def test_holm_is_that_of_statsmodels() -> None:
    """Ties and values at the ends among them."""
    values = np.array([0.04, 0.01, 0.01, 0.9, 1.0, 0.0, 0.3])

    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1], rel=1e-15)
