"""Which channels and which merge a variant means: plans, checked when the plugin starts.

A definition holds a plan as words and numbers. Here they become a rule with
checked parameters, so that a request never meets a plan that cannot run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from experiments.definition import Experiment, Plan

from .errors import InvalidPlan
from .interleave import DESIGNS
from .query import BASE
from .rules import RULES, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A plan that can run. Without channels the base is the answer.

    Attributes:
        interleave: show base and joined list on one page, by this design; None for the joined list alone.
    """

    channels: tuple[str, ...]
    rule: Rule
    interleave: str | None = None


def route_of(plan: Plan) -> Route:
    """The plan, checked.

    Raises:
        InvalidPlan: the merge or a parameter is unknown or out of bounds, or
            `base` is named as a channel.
    """
    if BASE in plan.channels:
        raise InvalidPlan(f"channel {BASE!r} is the host's own and always there; leave it out")
    if plan.merge not in RULES:
        raise InvalidPlan(f"merge is {plan.merge!r}, must be one of {', '.join(RULES)}")
    rule = RULES[plan.merge]
    parameters = dict(plan.parameters)
    design = parameters.pop("interleave", None)
    if design is not None and design not in DESIGNS:
        raise InvalidPlan(f"interleave is {design!r}, must be one of {', '.join(DESIGNS)}")
    known = [*(field.name for field in fields(rule)), "interleave"]
    for name in parameters:
        if name not in known:
            raise InvalidPlan(
                f"parameter {name!r} is unknown to merge {plan.merge!r}; known: {', '.join(known)}"
            )
    try:
        return Route(channels=tuple(plan.channels), rule=rule(**parameters), interleave=design)
    except (TypeError, AttributeError) as error:
        raise InvalidPlan(f"parameters of merge {plan.merge!r}: {error}") from error


def routes_of(experiment: Experiment) -> Mapping[str, Route]:
    """Every variant's route.

    Raises:
        InvalidPlan: naming experiment and variant; also if control has channels.
    """
    routes = {}
    for variant in experiment.variants:
        try:
            routes[variant.name] = route_of(variant.plan)
        except InvalidPlan as error:
            raise InvalidPlan(f"experiment {experiment.name!r}, variant {variant.name!r}: {error}") from error
    if routes[experiment.control].channels:
        raise InvalidPlan(
            f"experiment {experiment.name!r}: control {experiment.control!r} has channels "
            f"{', '.join(routes[experiment.control].channels)}; control is the base alone"
        )
    return routes
