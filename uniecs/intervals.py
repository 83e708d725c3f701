"""How sure a figure over queries is: the bootstrap, paired where two models are compared.

What is drawn again is a unit, with all its queries in all scenarios: queries of
one group are not independent of each other. Percentiles of the draws, 95%.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 1_000
SEED = 20
_CHUNK = 100  # draws at once; bounds the memory of 50,000 units

Figures = NDArray[np.float64]


def interval(values: Figures, units: Sequence[str]) -> tuple[float, float]:
    """Return the 95% interval of a mean over queries."""
    return mean_interval([values], [units])


def mean_interval(
    scenarios: Sequence[Figures], units: Sequence[Sequence[str]], *, minus: Sequence[Figures] | None = None
) -> tuple[float, float]:
    """Return the 95% interval of the mean over scenarios of the mean over queries.

    Args:
        scenarios: one value a query, for each scenario.
        units: what each query belongs to.
        minus: the other model's values on the same queries; the interval is of the difference.
    """
    if minus is not None:
        scenarios = [mine - theirs for mine, theirs in zip(scenarios, minus, strict=True)]
    names = sorted({name for scenario in units for name in scenario})
    if not names or not all(len(each) for each in scenarios):
        return (0.0, 0.0)
    number = {name: at for at, name in enumerate(names)}
    sums, counts = np.zeros((2, len(scenarios), len(names)))
    for row, (values, owners) in enumerate(zip(scenarios, units, strict=True)):
        places = [number[name] for name in owners]
        np.add.at(sums[row], places, values)
        np.add.at(counts[row], places, 1.0)
    chance = np.random.default_rng(SEED)
    means: list[Figures] = []
    for _ in range(0, DRAWS, _CHUNK):
        drawn = chance.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_CHUNK)
        means.append((drawn @ sums.T / np.maximum(drawn @ counts.T, 1)).mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)
