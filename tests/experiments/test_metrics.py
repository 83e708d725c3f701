"""Moments add up, and survive numbers that sums of squares do not."""

import numpy as np
import pytest
from numpy.random import default_rng

from experiments.errors import InvalidData
from experiments.metrics import Aggregates

from .units import moments

COLUMNS = ("clicks", "searches", "revenue")


def test_moments_of_parts_add_up_to_the_moments_of_the_whole() -> None:
    """Weeks, segments and buckets may be scanned apart; NumPy over all rows is the oracle."""
    rows = default_rng(1).gamma(2, 5, (500, 3))
    first, some, none, rest = (
        moments(dict(zip(COLUMNS, part.T, strict=True)))
        for part in (rows[:1], rows[1:7], rows[7:7], rows[7:])
    )
    whole = first + some + none + rest

    assert 500 == whole.count
    assert rows.mean(axis=0) == pytest.approx(whole.means, rel=1e-12)
    for i, one in enumerate(COLUMNS):
        for j, other in enumerate(COLUMNS):
            assert np.cov(rows.T)[i, j] == pytest.approx(whole.covariance(one, other), rel=1e-12)


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    """NIST NumAcc4: the variance is 0.01; sums of squares give a negative one."""
    values = [10_000_000.2] + [10_000_000.1, 10_000_000.3] * 500
    halves = [moments({"revenue": np.array(part)}) for part in (values[:400], values[400:])]

    assert 0.01 == pytest.approx((halves[0] + halves[1]).covariance("revenue", "revenue"), rel=1e-6)


def test_a_variance_of_one_unit_is_refused() -> None:
    """It has none; zero would be a lie."""
    with pytest.raises(InvalidData, match="needs two units, there are 1"):
        moments({"clicks": np.array([3.0])}).covariance("clicks", "clicks")


def test_moments_of_different_columns_do_not_add() -> None:
    """Clicks plus orders is nothing."""
    with pytest.raises(InvalidData, match="cannot be added"):
        moments({"clicks": np.array([1.0])}) + moments({"orders": np.array([1.0])})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"experiment": 1}'])
def test_a_file_that_is_no_aggregates_is_refused(text: str) -> None:
    """A half-written or older file must not become a report."""
    with pytest.raises(InvalidData, match="not an aggregates file"):
        Aggregates.from_json(text)
