"""Plans are checked when the plugin starts, not when a shopper waits."""

from dataclasses import replace
from typing import Any

import pytest

from experiments.definition import Plan, load_experiments
from recall_plugin.errors import InvalidPlan
from recall_plugin.routing import Route, route_of, routes_of
from recall_plugin.rules import AppendQuota, WeightedByRank
from tests.recall_plugin.doubles import experiment


def test_a_plan_becomes_a_rule_with_checked_parameters() -> None:
    """The words of the definition, typed."""
    plan = Plan(channels=("uniecs",), merge="append", parameters={"quota": 5})
    weighted = Plan(channels=("uniecs",), merge="weighted_by_rank", parameters={"weights": {"base": 2}})

    assert Route(channels=("uniecs",), rule=AppendQuota(quota=5)) == route_of(plan)
    assert WeightedByRank(weights={"base": 2}) == route_of(weighted).rule


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"merge": "shuffle"}, "merge is 'shuffle', must be one of append, snake, rrf"),
        (
            {"parameters": {"qouta": 5}},
            "'qouta' is unknown to merge 'append'; known: protected_head, quota, every",
        ),
        ({"parameters": {"quota": -1}}, "quota is -1"),
        (
            {"merge": "weighted_by_rank", "parameters": {"weights": 3}},
            "parameters of merge 'weighted_by_rank'",
        ),
        ({"channels": ("base",)}, "channel 'base' is the host's own"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_by_experiment_and_variant(
    fields: dict[str, Any], says: str
) -> None:
    """The sentence says where to look and what is allowed."""
    sound = experiment()
    control, treatment = sound.variants
    broken = replace(sound, variants=(control, replace(treatment, plan=replace(treatment.plan, **fields))))

    with pytest.raises(InvalidPlan, match="experiment 'uniecs-recall', variant 'treatment'") as refused:
        routes_of(broken)
    assert says in str(refused.value)


def test_control_is_the_base_alone() -> None:
    """Or nothing could be compared."""
    sound = experiment()
    both = tuple(replace(variant, plan=Plan(channels=("uniecs",))) for variant in sound.variants)

    with pytest.raises(InvalidPlan, match="control 'control' has channels uniecs"):
        routes_of(replace(sound, variants=both))


def test_every_packaged_experiment_can_run() -> None:
    """What is shipped works."""
    for packaged in load_experiments().values():
        assert {variant.name for variant in packaged.variants} == set(routes_of(packaged))
