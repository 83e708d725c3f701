"""How strict a look must be when the results are looked at more than once.

Group-sequential bounds with Lan and DeMets' spending, two-sided and symmetric;
O'Brien-Fleming's unless Pocock's is asked for. Early looks are strict, the last
is close to a single test, and all looks together cry wolf at most `alpha` of the
time. The spending follows the calendar; the dependence between looks follows
the information.

The name means two things: here each side spends 2 - 2 Phi(z(alpha/4) / sqrt(t)),
which gives a first bound of 4.88 for five equal looks.
"""

from collections.abc import Sequence
from functools import cache
from math import e, log1p, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from .errors import InvalidData

Spending = Literal["O'Brien-Fleming", "Pocock"]

# Points of the grid that carries the density between looks; bounds are right to 4 decimals.
_POINTS = 401

# A bound this high is never crossed: the look has next to nothing to spend.
_NEVER = 9.0


def bounds(
    times: Sequence[float],
    information: Sequence[float],
    *,
    alpha: float = 0.05,
    spending: Spending = "O'Brien-Fleming",
) -> list[float]:
    """For each look so far, how large |z| must be.

    Args:
        times: the share of the planned time gone at each look, rising, at most 1.
        information: what was known at each look (1 / variance of the estimate), in any unit.
        alpha: how often all looks together may cry wolf.
        spending: strict early and a plain test late, or (Pocock) much the same at each look.

    >>> [round(bound, 3) for bound in bounds([0.2, 0.4, 0.6, 0.8, 1], [1, 2, 3, 4, 5])]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    >>> [round(bound, 3) for bound in bounds([0.2, 0.4, 0.6, 0.8, 1], [1, 2, 3, 4, 5], spending="Pocock")]
    [2.438, 2.427, 2.41, 2.397, 2.386]
    """
    _check(times, information)
    spent = [_spent(time, alpha, spending) for time in times]
    found: list[float] = []
    scores: NDArray[np.float64] = np.zeros(1)  # where the unstopped paths are, as z times root information
    weights: NDArray[np.float64] = np.ones(1)  # how likely each of them is
    before, gone = 0.0, 0.0
    for at_look, total in zip(information, spent, strict=True):
        step = sqrt(at_look - before)
        bound = _solve(scores, weights, step, sqrt(at_look), spend=total - gone)
        found.append(bound)
        scores, weights = _carry_on(scores, weights, step, edge=bound * sqrt(at_look))
        before, gone = at_look, total
    return found


def nominal_alpha(bound: float) -> float:
    """The two-sided p-value that a bound on |z| stands for."""
    return float(2 * stats.norm.sf(bound))


def alpha_spent(time: float, alpha: float) -> float:
    """How often looks up to then may cry wolf, both sides together.

    >>> round(alpha_spent(1.0, 0.05), 4)
    0.05
    """
    return 2 * _spent(time, alpha)


def _spent(time: float, alpha: float, spending: Spending = "O'Brien-Fleming") -> float:
    """What one side may have spent by then."""
    if spending == "Pocock":
        return alpha / 2 * log1p((e - 1) * time)
    return float(2 * stats.norm.sf(stats.norm.isf(alpha / 4) / sqrt(time)))


def _solve(
    scores: NDArray[np.float64], weights: NDArray[np.float64], step: float, root: float, *, spend: float
) -> float:
    def crossing(bound: float) -> float:
        return float(weights @ stats.norm.sf((bound * root - scores) / step)) - spend

    if crossing(_NEVER) >= 0:
        return _NEVER
    return float(optimize.brentq(crossing, 0.0, _NEVER, xtol=1e-10))


def _carry_on(
    scores: NDArray[np.float64], weights: NDArray[np.float64], step: float, *, edge: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, sizes = _grid()
    nodes, sizes = nodes * edge, sizes * edge
    density = stats.norm.pdf((nodes[:, None] - scores[None, :]) / step) / step @ weights
    return nodes, density * sizes


@cache
def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, sizes = np.polynomial.legendre.leggauss(_POINTS)
    return nodes, sizes


def _check(times: Sequence[float], information: Sequence[float]) -> None:
    if len(times) != len(information):
        raise InvalidData(f"{len(times)} look times but {len(information)} information values")
    for name, values in (("look times", times), ("information", information)):
        rising = all(later > earlier for earlier, later in zip((0.0, *values), values, strict=False))
        if not rising:
            raise InvalidData(f"{name} are {list(values)}, must rise from above 0")
    if times and times[-1] > 1 + 1e-9:
        raise InvalidData(f"the last look is at {times[-1]} of the planned time, must be at most 1")
