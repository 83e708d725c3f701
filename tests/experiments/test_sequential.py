"""Bounds for several looks, held against the published tables and simulation."""

import numpy as np
import pytest
from numpy.random import default_rng

from experiments.errors import InvalidData
from experiments.sequential import bounds, nominal_alpha


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        (1, [1.960]),
        (2, [2.963, 1.969]),
        (4, [4.333, 2.963, 2.359, 2.014]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_equal_looks_give_the_published_bounds(looks: int, published: list[float]) -> None:
    """Two-sided 0.05, Lan-DeMets O'Brien-Fleming: the tables of ldbounds and gsDesign."""
    times = [(look + 1) / looks for look in range(looks)]

    assert published == pytest.approx(bounds(times, times), abs=1e-3)


def test_pococks_spending_gives_the_published_bounds() -> None:
    """Five equal looks, two-sided 0.05, alpha log(1 + (e - 1) t): ldbounds 2.438 to 2.386."""
    times = [0.2, 0.4, 0.6, 0.8, 1.0]
    published = [2.438, 2.427, 2.410, 2.397, 2.386]

    assert published == pytest.approx(bounds(times, times, spending="Pocock"), abs=1e-3)


def test_the_unit_of_information_does_not_matter() -> None:
    """Only how much more each look knows than the one before."""
    assert bounds([0.3, 0.8], [3, 8]) == pytest.approx(bounds([0.3, 0.8], [300, 800]), abs=1e-9)


def test_all_looks_together_cry_wolf_one_time_in_twenty() -> None:
    """Four looks at paths without an effect; stopping at 1.96 would alarm in about 13%."""
    rng = default_rng(6)
    paths = np.cumsum(rng.normal(size=(40_000, 4)), axis=1) / np.sqrt(np.arange(1, 5))
    times = [0.25, 0.5, 0.75, 1.0]

    corrected = (np.abs(paths) > np.array(bounds(times, times))).any(axis=1).mean()
    naive = (np.abs(paths) > 1.96).any(axis=1).mean()

    assert 0.045 < corrected < 0.055
    assert naive > 0.11


def test_looks_that_learn_unevenly_still_keep_their_promise() -> None:
    """The spending follows the calendar, the correlation what was learnt."""
    rng = default_rng(7)
    information = np.array([0.1, 0.7, 0.75, 1.0])
    steps = np.sqrt(np.diff(information, prepend=0.0))
    paths = np.cumsum(rng.normal(size=(40_000, 4)) * steps, axis=1) / np.sqrt(information)
    found = np.array(bounds([0.25, 0.5, 0.75, 1.0], list(information)))

    assert 0.045 < (np.abs(paths) > found).any(axis=1).mean() < 0.055


def test_a_very_early_look_has_next_to_nothing_to_spend() -> None:
    """The bound is high, finite, and harmless to the later ones."""
    first, last = bounds([0.01, 1.0], [1, 100])

    assert first >= 8
    assert 1.96 == pytest.approx(last, abs=1e-3)
    assert 0.05 == pytest.approx(nominal_alpha(last), abs=1e-4)


@pytest.mark.parametrize(
    ("times", "information"), [([0.5, 0.5], [1, 2]), ([0.5, 1.0], [2, 2]), ([0.5, 1.5], [1, 2]), ([0.5], [])]
)
def test_looks_must_rise(times: list[float], information: list[float]) -> None:
    """A look that learns nothing new is not a look."""
    with pytest.raises(InvalidData):
        bounds(times, information)
