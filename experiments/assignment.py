"""The variant a unit always gets.

Pure: no clock, no chance, no I/O. The hash is murmur3 (x86, 32 bits, seed 0)
over UTF-8, so that any language gives the same answer;
`docs/schemas/assignment_vectors.json` holds rows to check one against.

1. slot = murmur3("<layer salt>:<unit>"): in the layer's 2^32 slots.
2. The experiment owns ranges of slots; laid end to end, the first `traffic`
   share of them takes part. A larger share only adds units.
3. arm = murmur3("<experiment salt>:<unit>"), independent of the slot: the
   variants own [0, 2^32) in their order, each its share.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import mmh3

from .errors import InvalidUnit
from .experiment import Experiment, Layer, Plan

Reason = Literal["assigned", "not_in_traffic", "not_started", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a unit gets, and why. Only `assigned` units are part of the experiment."""

    experiment: str
    variant: str
    reason: Reason
    plan: Plan


def assign(experiment: Experiment, unit_id: str, *, now: datetime, enabled: bool = True) -> Decision:
    """The variant this unit gets.

    Raises:
        InvalidUnit: the id is not text, is empty, or has no UTF-8 form.
    """
    check_unit(unit_id)
    if not enabled:
        return _outside(experiment, "off")
    if now < experiment.start:
        return _outside(experiment, "not_started")
    if not takes_part(experiment, unit_id):
        return _outside(experiment, "not_in_traffic")
    arm = bucket(unit_id, salt=experiment.salt)
    for variant, last in zip(experiment.variants, experiment.arm_bounds, strict=True):
        if arm < last:
            return Decision(
                experiment=experiment.name, variant=variant.name, reason="assigned", plan=variant.plan
            )
    raise AssertionError("the last variant's bound is 2^32")  # pragma: no cover


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
    return Decision(experiment=experiment.name, variant=control.name, reason=reason, plan=control.plan)
