"""A shop with queries, channels and a past: logs in which everything the page explains has a planted truth.

Some queries get one product more from the new channel, the others the same
page; shoppers differ in taste and have bought before. Only treatment logs what
changed, as the plugin does.
"""

from typing import Any

import numpy as np

from experiments.definition import Experiment

from .logs import Rows, exposure, outcome


def served(*products: tuple[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """A page: (product, channels that found it), best first."""
    return [
        {
            "product_id": name,
            "position": place,
            "channels": list(channels),
            "rank_per_channel": [{"channel": channel, "rank": place} for channel in channels],
        }
        for place, (name, channels) in enumerate(products, start=1)
    ]


BASE = served(("mug", ("base",)), ("cup", ("base",)))
MORE = served(("mug", ("base", "uniecs")), ("cup", ("base",)), ("jug", ("uniecs",)))


def search_shop(
    experiment: Experiment,
    *,
    units: int,
    seed: int,
    queries: int = 60,
    changed: float = 0.4,
    extra: float = 0.08,
    novelty: float = 0.0,
    days: int = 28,
) -> tuple[Rows, Rows]:
    """Four weeks, and four weeks before.

    Args:
        experiment: its first variant is control.
        units: shoppers, half in each variant.
        seed: of the lots.
        queries: distinct ones, asked by Zipf's law.
        changed: the share of queries that treatment answers with one product more.
        extra: the chance that this product is clicked, times the shopper's taste.
        novelty: how much larger that chance is on a shopper's first day; it wears off in a week.
        days: of the experiment.
    """
    lots = np.random.default_rng(seed)
    asked = 1 / np.arange(1, queries + 1)
    is_changed = lots.random(queries) < changed
    exposures: Rows = []
    outcomes: Rows = []
    for number in range(units):
        unit, treated = f"shopper-{number}", lots.random() < 0.5
        variant, taste = ("treatment" if treated else "control"), lots.beta(2, 3)
        for hours in -lots.uniform(1, 24 * 28, lots.poisson(2 * taste)):
            outcomes.append(outcome(experiment, unit, "click", hours=float(hours)))
        moments = np.sort(lots.uniform(0, 24 * days, 1 + lots.geometric(0.25))).round(4)
        for hours in map(float, moments):
            query = int(lots.choice(queries, p=asked / asked.sum()))
            more = bool(treated and is_changed[query])
            age = (hours - float(moments[0])) / 24
            chances = {
                "mug": 0.25 * taste,
                "jug": extra * 2 * taste * (1 + novelty * np.exp(-age / 2)) * more,
            }
            exposures.append(
                exposure(
                    experiment,
                    unit,
                    variant,
                    hours=hours,
                    query=f"query {query}",
                    query_kind="text" if query % 7 else "image",
                    triggered=more if treated else None,
                    served=MORE if more else BASE,
                    latency_ms=float(lots.gamma(9, 2) + 6 * treated),
                )
            )
            for name, chance in chances.items():
                if lots.random() >= chance:
                    continue
                of_search = {"product_id": name, "query_id": f"q-{unit}-{hours}"}
                outcomes.append(
                    outcome(
                        experiment, unit, "click", hours=hours + 0.01, event_id=f"c-{unit}-{hours}-{name}"
                    )
                    | of_search
                )
                if lots.random() < 0.2:
                    price = float(np.round(lots.lognormal(3, 0.6), 2))
                    outcomes.append(
                        outcome(
                            experiment,
                            unit,
                            "order",
                            hours=hours + 0.02,
                            revenue=price,
                            event_id=f"o-{unit}-{hours}-{name}",
                        )
                        | of_search
                    )
    return exposures, outcomes
