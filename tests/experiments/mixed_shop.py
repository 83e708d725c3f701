"""A shop that interleaves: logs in which shoppers like what is new by a planted amount.

The pages are made by the plugin's own designs; a shopper looks less the further
down a place is, and likes a new product more or less than one of the base.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from experiments.experiment import Experiment, Plan, Variant
from recall_plugin.interleave import DESIGNS

from .logs import Rows, exposure, outcome
from .search_shop import served

BASE = [f"old-{place}" for place in range(6)]
JOINED = ["new-0", "old-0", "new-1", "old-1", "new-2", "old-2"]
WAYS = {"old": ("base",), "new": ("uniecs",)}


def with_mixed_arm(experiment: Experiment, *, alone: bool = True, design: str = "team_draft") -> Experiment:
    """The experiment with an arm that interleaves: beside the treatment, or instead of it."""
    plan = experiment.variant("treatment").plan
    mixed = Plan(channels=plan.channels, merge=plan.merge, parameters={"interleave": design})
    shares: Mapping[str, float] = {"control": 0.4, "mixed": 0.2, "treatment": 0.4}
    if not alone:
        shares = {"control": 0.5, "mixed": 0.5}
    plans = {"control": experiment.variant("control").plan, "treatment": plan, "mixed": mixed}
    return replace(
        experiment,
        variants=tuple(Variant(name=name, share=share, plan=plans[name]) for name, share in shares.items()),
    )


def mixed_shop(
    experiment: Experiment, *, units: int, liking: float, seed: int, unfair: float = 0.0, days: int = 28
) -> tuple[Rows, Rows]:
    """Some weeks of searches.

    Args:
        experiment: see `with_mixed_arm`.
        units: shoppers.
        liking: how much more a new product is liked: 0 as much as any other.
        seed: of the lots.
        unfair: how often the new ranking begins although the coin says that it does not.
        days: of the experiment.
    """
    lots = np.random.default_rng(seed)
    exposures: Rows = []
    outcomes: Rows = []
    names = [variant.name for variant in experiment.variants]
    shares = [variant.share for variant in experiment.variants]
    for number in range(units):
        unit, variant = f"shopper-{number}", names[int(lots.choice(len(names), p=shares))]
        design = experiment.variant(variant).plan.parameters.get("interleave")
        taste = 0.3 * lots.beta(2, 5)
        for hours in np.sort(lots.uniform(0, 24 * days, 1 + lots.geometric(0.3))).round(4):
            more = {}
            page = BASE if variant == experiment.control else JOINED
            if design is not None:
                tosses = (lots.random(9) < 0.5 + unfair / 2).tolist()
                mixed = DESIGNS[design](BASE, JOINED, limit=6, coin=tosses.__getitem__)
                page = mixed.product_ids
                more = {"teams": list(mixed.teams), "team_weights": list(mixed.weights)}
            exposures.append(
                exposure(
                    experiment,
                    unit,
                    variant,
                    hours=float(hours),
                    served=served(*((name, WAYS[name[:3]]) for name in page)),
                    latency_ms=float(lots.gamma(9, 2)),
                    **more,
                )
            )
            for place, name in enumerate(page, start=1):
                if lots.random() < taste / place * (1 + liking * name.startswith("new")):
                    outcomes.append(
                        outcome(experiment, unit, "click", hours=float(hours) + 0.01)
                        | {
                            "event_id": f"c-{unit}-{hours}-{name}",
                            "product_id": name,
                            "query_id": f"q-{unit}-{hours}",
                        }
                    )
    return exposures, outcomes
