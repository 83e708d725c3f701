"""Who an experiment is for: typed rules on what the host says of a request.

    [[targeting]]
    attribute = "region"
    is_in = ["cn", "sg"]

    [[targeting]]
    attribute = "app_version"
    at_least = 12

All rules must hold. Whoever lacks an attribute, or has one of another kind,
takes no part: nobody is drawn into an experiment by an omission.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from .errors import InvalidExperiment

Attribute = str | float | bool
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One rule on one attribute.

    Attributes:
        is_in, not_in: of a text.
        at_least, at_most: of a number, bounds included.
        equals: of a yes or no.
    """

    attribute: str
    is_in: tuple[str, ...] = ()
    not_in: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    equals: bool | None = None

    def __post_init__(self) -> None:
        if not self.attribute:
            raise InvalidExperiment(
                "targeting: a rule names no attribute; add for example attribute = 'region'"
            )
        asked = [
            bool(self.is_in or self.not_in),
            self.at_least is not None or self.at_most is not None,
            self.equals is not None,
        ]
        if sum(asked) != 1:
            raise InvalidExperiment(
                f"targeting: the rule on {self.attribute!r} must ask one thing: is_in or not_in of a text,"
                " at_least or at_most of a number, or equals true or false"
            )
        for bound in (self.at_least, self.at_most):
            if bound is not None and not isfinite(bound):
                raise InvalidExperiment(
                    f"targeting: a bound on {self.attribute!r} is {bound}, must be finite"
                )
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise InvalidExperiment(
                f"targeting: {self.attribute!r} is at least {self.at_least} and at most {self.at_most}:"
                " nobody would take part"
            )

    def allows(self, value: object) -> bool:
        """Whether the rule holds of a value, as it came from the host."""
        if isinstance(value, bool):
            return value is self.equals
        if isinstance(value, str):
            if self.is_in:
                return value in self.is_in and value not in self.not_in
            return bool(self.not_in) and value not in self.not_in
        if isinstance(value, int | float) and (self.at_least is not None or self.at_most is not None):
            return (self.at_least is None or value >= self.at_least) and (
                self.at_most is None or value <= self.at_most
            )
        return False


def meets(targets: Sequence[Target], attributes: Attributes) -> bool:
    """Whether all rules hold."""
    return all(target.allows(attributes.get(target.attribute)) for target in targets)
