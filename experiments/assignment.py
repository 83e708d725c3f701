"""The variant a unit always gets.

Pure: no clock, no chance, no I/O. The hash is murmur3 (x86, 32 bits, seed 0)
over UTF-8, so that any language gives the same answer;
`docs/schemas/assignment_vectors.json` holds rows to check one against.

1. slot = murmur3("<layer salt>:<unit>"): in the layer's 2^32 slots.
2. The experiment owns ranges of slots; laid end to end, the first `traffic`
   share of them takes part. A larger share only adds units.
3. arm = murmur3("<experiment salt>:<unit>"), independent of the slot: the
   variants own [0, 2^32) in their order, each its share.

With `hashing = "growthbook-2"` the arm is GrowthBook's instead (`growthbook`).
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

import mmh3

from . import growthbook
from .errors import InvalidUnit
from .experiment import Experiment, Layer, Plan
from .targeting import Attribute, meets

Reason = Literal[
    "assigned", "not_in_traffic", "not_started", "not_targeted", "off", "vendor_default", "vendor_failed"
]

_NOTHING_KNOWN: Mapping[str, Attribute] = MappingProxyType({})


class Decision(NamedTuple):
    """What a unit gets, and why. Only `assigned` units are part of the experiment."""

    experiment: str
    variant: str
    reason: Reason
    plan: Plan


def assign(
    experiment: Experiment,
    unit_id: str,
    *,
    now: datetime,
    enabled: bool = True,
    attributes: Mapping[str, Attribute] = _NOTHING_KNOWN,
) -> Decision:
    """The variant this unit gets.

    Args:
        experiment: the flag.
        unit_id: who is randomised.
        now: before the start, everybody gets control.
        enabled: False is the kill switch.
        attributes: what the host says of the request, for an experiment with targeting.

    Raises:
        InvalidUnit: the id is not text, is empty, or has no UTF-8 form.
    """
    check_unit(unit_id)
    if not enabled:
        return _outside(experiment, "off")
    if now < experiment.start:
        return _outside(experiment, "not_started")
    if experiment.targeting and not meets(experiment.targeting, attributes):
        return _outside(experiment, "not_targeted")
    arm = arm_of(experiment, unit_id)
    if arm is None:
        return _outside(experiment, "not_in_traffic")
    variant = experiment.variants[arm]
    return Decision(experiment.name, variant.name, "assigned", variant.plan)


def arm_of(experiment: Experiment, unit_id: str) -> int | None:
    """The place of the unit's variant among the experiment's; None if it takes no part."""
    if experiment.hashing == "growthbook-2":
        where = growthbook.place(unit_id, seed=experiment.salt)
        return growthbook.arm_at(where, experiment.arm_ranges)
    if not takes_part(experiment, unit_id):
        return None
    return bisect_right(experiment.arm_bounds, bucket(unit_id, salt=experiment.salt))


def bucket(unit_id: str, *, salt: str) -> int:
    """A fixed place in [0, 2^32) for a unit.

    >>> bucket("shopper-7", salt="0123456789abcdef")
    693905839
    """
    return mmh3.hash(f"{salt}:{unit_id}".encode(), 0, signed=False)


def takes_part(experiment: Experiment, unit_id: str) -> bool:
    """Whether the unit falls in the experiment's slots and its traffic share."""
    place = place_among(experiment.layer, bucket(unit_id, salt=experiment.layer.salt))
    return place is not None and place < experiment.traffic_bound


def place_among(layer: Layer, slot: int) -> int | None:
    """Where a slot comes when the owned ranges are laid end to end; None if it is not owned."""
    before = 0
    for first, last in layer.slots:
        if first <= slot < last:
            return before + slot - first
        before += last - first
    return None


def check_unit(unit_id: object) -> None:
    """Refuse what no other language would hash alike: a number, nothing, half a surrogate pair."""
    if not isinstance(unit_id, str):
        raise InvalidUnit(f"unit id is {unit_id!r}, must be text; write {str(unit_id)!r} if that is its name")
    if not unit_id:
        raise InvalidUnit("unit id is empty; every unit needs an id of its own")
    try:
        unit_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidUnit(f"unit id {unit_id!r} has no UTF-8 form; repair it where it is made") from error


def _outside(experiment: Experiment, reason: Reason) -> Decision:
    control = experiment.control_variant
    return Decision(experiment.name, control.name, reason, control.plan)
