"""Shoppers by lot, as the cuts that a scan would make of them: for tests and for `benchmarks.calibration`.

No logs and no SQL: thousands of shops in the time that one archive takes.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from experiments.metrics import Moments

Floats = NDArray[np.float64]


def moments(columns: Mapping[str, NDArray[Any]]) -> Moments:
    """Moments of columns, by NumPy; of no unit at all, zeros."""
    table = np.array([np.asarray(column, dtype=float) for column in columns.values()])
    means = table.mean(axis=1) if table.shape[1] else np.zeros(len(table))
    centred = table - means[:, None]
    return Moments(
        columns=tuple(columns),
        count=table.shape[1],
        means=tuple(map(float, means)),
        comoments=tuple(tuple(map(float, row)) for row in centred @ centred.T),
    )


def searchers(rng: Generator, units: int, *, uneven: bool = True) -> tuple[NDArray[np.int64], Floats]:
    """How much each searches, and how readily it clicks."""
    searches = 1 + rng.geometric(0.15, units)
    return searches, 0.6 * rng.beta(1.5, 4, units) if uneven else np.full(units, 0.2)


def triggered(
    rng: Generator, units: int, *, rate: float, lift: float = 0.0, leak: float = 0.0, uneven: bool = True
) -> dict[str, Any]:
    """One variant's cuts where a share of searches has a changed page, and a lift there alone.

    A `leak` is a lift on the unchanged pages: what the null check must find.
    """
    searches, taste = searchers(rng, units, uneven=uneven)
    changed = rng.binomial(searches, rate)
    clicks_changed = rng.binomial(changed, np.minimum(taste * (1 + lift), 1.0))
    clicks_same = rng.binomial(searches - changed, np.minimum(taste * (1 + leak), 1.0))
    nothing = np.zeros(units)
    clicks = clicks_changed + clicks_same
    spent = clicks * rng.gamma(2, 5, units)
    plain = {"searches": searches, "clicks": clicks, "revenue": spent}
    is_changed = changed > 0
    return {
        "whole": moments(plain),
        "parts": moments(
            plain
            | {"searches_changed": changed, "clicks_changed": clicks_changed}
            | {"searches_same": searches - changed, "clicks_same": clicks_same}
            | {"searches_unknown": nothing, "clicks_unknown": nothing}
        ),
        "class:changed": moments({name: column[is_changed] for name, column in plain.items()}),
        "class:same": moments({name: column[~is_changed] for name, column in plain.items()}),
    }


def of_channels(
    rng: Generator, units: int, rates: Mapping[str, float], *, unattributed: float = 0.0
) -> dict[str, Any]:
    """One variant's clicks by the channel that found them, each a share of searches."""
    searches, taste = searchers(rng, units)
    keen = taste / taste.mean()
    via = {name: rng.binomial(searches, np.minimum(rate * keen, 1.0)) for name, rate in rates.items()}
    rest = rng.binomial(searches, np.minimum(unattributed * keen, 1.0))
    clicks = sum(via.values()) + rest
    columns: dict[str, Any] = {"searches": searches, "clicks": clicks, "revenue": 10.0 * clicks}
    for number, found in enumerate(via.values()):
        columns |= {f"clicks_via_{number}": found, f"revenue_via_{number}": 10.0 * found}
    return {"parts": moments(columns)}


def of_ages(rng: Generator, units: int, lifts: Mapping[int, float]) -> dict[str, Any]:
    """One variant's searches and clicks by days since its first search, a lift at each age."""
    _, taste = searchers(rng, units)
    columns: dict[str, Any] = {}
    for first, lift in lifts.items():
        searches = rng.poisson(2.0, units) + (first == 0)
        columns[f"searches_{first}"] = searches
        columns[f"clicks_{first}"] = rng.binomial(searches, np.minimum(taste * (1 + lift), 1.0))
    return {"ages": moments(columns)}


def of_clusters(rng: Generator, units: int, lifts: Mapping[str, float]) -> dict[str, Any]:
    """One variant's searches and clicks by cluster; the later ones are smaller."""
    cuts = {}
    for place, (name, lift) in enumerate(lifts.items()):
        searches, taste = searchers(rng, max(units // (place + 1), 50))
        clicks = rng.binomial(searches, np.minimum(taste * (1 + lift), 1.0))
        cuts[f"cluster:{name}"] = moments({"searches": searches, "clicks": clicks})
    return cuts


def aggregates(control: Mapping[str, Any], treatment: Mapping[str, Any], **others: Any) -> Any:
    """Both variants' cuts together, as far as an explanation reads aggregates."""
    names = dict.fromkeys([*control, *treatment])
    cuts = {
        name: {
            variant: of[name]
            for variant, of in (("control", control), ("treatment", treatment))
            if name in of
        }
        for name in names
    }
    given = {"trigger": "both sides", "channels": ("base", "uniecs"), "currencies": ("EUR",)}
    return SimpleNamespace(cuts=cuts, **(given | {"ages": (0, 1, 2, 4, 7, 14)} | others))
