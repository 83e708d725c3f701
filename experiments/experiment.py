"""An experiment as it is written down before it starts: records that check themselves.

Reading them from files is `definition`; what a unit gets is `assignment`.
Nothing here looks at results: a definition is what results are held against.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor
from typing import Any, Literal

from .errors import InvalidExperiment
from .growthbook import Range, ranges
from .targeting import Target

SLOTS = 2**32  # the range of the hash: a layer is this many slots

# What a shopper's row in the logs can be asked for; metrics are means or ratios of these.
COLUMNS = (
    "searches",
    "empty_searches",
    "degraded_searches",
    "latency_ms",
    "clicks",
    "add_to_carts",
    "orders",
    "revenue",
)

Role = Literal["primary", "secondary", "guardrail"]
Hashing = Literal["murmur3", "growthbook-2"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SALT = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a variant asks of the search: which channels, and how they are merged.

    `parameters` are the merge's and the channels' own; the recall plugin checks
    them when it starts.
    """

    channels: tuple[str, ...] = ()
    merge: str = "append"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.channels)) < len(self.channels):
            raise InvalidExperiment(f"plan: channels are {list(self.channels)}, each may be named once")
        if not self.merge:
            raise InvalidExperiment(
                "plan: merge is empty; name the way lists are joined, for example 'append'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One arm: its share of the traffic, and its plan."""

    name: str
    share: float
    plan: Plan

    def __post_init__(self) -> None:
        _check_name("variant", self.name)
        if not 0 < self.share <= 1:
            raise InvalidExperiment(f"variant {self.name!r}: share is {self.share}, must be in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A cut of all units into slots; experiments in one layer never share a unit.

    Attributes:
        salt: of the layer: every experiment in it names the same one.
        slots: half-open ranges [first, last) that the experiment owns.
    """

    name: str
    salt: str
    slots: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        _check_name("layer", self.name)
        _check_salt(f"layer {self.name!r}", self.salt)
        if not self.slots:
            raise InvalidExperiment(
                f"layer {self.name!r}: the experiment owns no slots; give [[0, {SLOTS}]] for all"
            )
        for first, last in self.slots:
            if not 0 <= first < last <= SLOTS:
                raise InvalidExperiment(
                    f"layer {self.name!r}: slots [{first}, {last}) must lie in [0, {SLOTS}) and not be empty"
                )
        refuse_overlap(self.name, [(first, last, "this experiment") for first, last in self.slots])


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is measured per unit: the mean of a column, or the ratio of two.

    Attributes:
        title: for people.
        good: which direction is wanted.
        cap_quantile: values above this quantile of the units that have any,
            all variants pooled, count as that quantile.
        margin: of a guardrail: how far it may move the wrong way, as a share
            of control (0.02 is 2%), or, with `margin_kind` "absolute", in its own unit.
    """

    name: str
    title: str
    role: Role
    numerator: str
    denominator: str | None = None
    good: Literal["up", "down"] = "up"
    shown_as: Literal["number", "percent", "money", "ms"] = "number"
    cap_quantile: float | None = None
    margin: float | None = None
    margin_kind: Literal["relative", "absolute"] = "relative"

    def __post_init__(self) -> None:
        _check_name("metric", self.name)
        for column in (self.numerator, self.denominator):
            if column is not None and column not in COLUMNS:
                raise InvalidExperiment(
                    f"metric {self.name!r}: no column {column!r}; there are {', '.join(COLUMNS)}"
                )
        for field_name, allowed in _CHOICES.items():
            if (chosen := getattr(self, field_name)) not in allowed:
                raise InvalidExperiment(
                    f"metric {self.name!r}: {field_name} is {chosen!r}, must be one of {', '.join(allowed)}"
                )
        if self.cap_quantile is not None and not 0.5 <= self.cap_quantile < 1:
            raise InvalidExperiment(
                f"metric {self.name!r}: cap_quantile is {self.cap_quantile}, must be in [0.5, 1)"
            )
        if self.cap_quantile is not None and self.denominator is not None:
            raise InvalidExperiment(
                f"metric {self.name!r}: only a mean can be capped; drop cap_quantile or denominator"
            )
        if (self.role == "guardrail") is not (self.margin is not None):
            raise InvalidExperiment(
                f"metric {self.name!r}: role is {self.role}; a guardrail, and only one, has a margin"
            )
        if self.margin is not None and not self.margin > 0:
            raise InvalidExperiment(f"metric {self.name!r}: margin is {self.margin}, must be above 0")


_CHOICES = {
    "role": ("primary", "secondary", "guardrail"),
    "good": ("up", "down"),
    "shown_as": ("number", "percent", "money", "ms"),
    "margin_kind": ("relative", "absolute"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One question put to the traffic.

    Attributes:
        unit: what is randomised, in words (`shopper`).
        salt: decides which arm a unit gets; 16 random hex digits, fresh for each experiment.
        phase: names a stretch with one set-up; part of every event id.
        traffic: the share of the owned slots that takes part. Raising it moves nobody already in.
        control: the variant others are compared with, and the one given to whoever takes no part.
        planned_looks: how often the results are looked at, every `look_every_days`, before a decision.
        attribution_days: an outcome counts if it follows a served search of its unit within this time.
        segments: declared breakdowns, by what is known of a unit's first search; see `scan.segment_scan`.
        targeting: rules on what the host says of a request; all must hold.
        hashing: how a unit gets its arm; `growthbook-2` for one whose units GrowthBook has seen.
        traffic_bound: the first of the owned slots, laid end to end, that takes no part.
        arm_bounds: the first bucket past each variant's share; the last is 2^32.
        arm_ranges: with `growthbook-2`, the places in [0, 1) that each variant covers.
    """

    name: str
    hypothesis: str
    unit: str
    layer: Layer
    salt: str
    phase: str
    traffic: float
    control: str
    variants: tuple[Variant, ...]
    start: datetime
    planned_looks: int
    look_every_days: int
    attribution_days: int
    metrics: tuple[Metric, ...]
    segments: tuple[str, ...] = ()
    targeting: tuple[Target, ...] = ()
    hashing: Hashing = "murmur3"
    traffic_bound: int = field(init=False, repr=False, compare=False)
    arm_bounds: tuple[int, ...] = field(init=False, repr=False, compare=False)
    arm_ranges: tuple[Range, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name("experiment", self.name)
        self._check_hashing()
        if self.salt == self.layer.salt:
            raise InvalidExperiment(
                f"experiment {self.name!r}: its salt is the layer's; arms need one of their own"
            )
        for words in ("hypothesis", "unit", "phase"):
            if not getattr(self, words):
                raise InvalidExperiment(
                    f"experiment {self.name!r}: {words} is empty; write it down before the start"
                )
        if not 0 <= self.traffic <= 1:
            raise InvalidExperiment(f"experiment {self.name!r}: traffic is {self.traffic}, must be in [0, 1]")
        self._check_variants()
        if self.start.tzinfo is None:
            raise InvalidExperiment(
                f"experiment {self.name!r}: start {self.start} has no time zone; add Z for UTC"
            )
        for count in ("planned_looks", "look_every_days", "attribution_days"):
            if getattr(self, count) < 1:
                raise InvalidExperiment(
                    f"experiment {self.name!r}: {count} is {getattr(self, count)}, must be 1 or more"
                )
        _refuse_repeats(self.name, "metric", [metric.name for metric in self.metrics])
        self._check_segments()
        if not any(metric.role == "primary" for metric in self.metrics):
            raise InvalidExperiment(f"experiment {self.name!r}: no metric is primary; the verdict needs one")
        owned = sum(last - first for first, last in self.layer.slots)
        shares = accumulate(_exact(variant.share) for variant in self.variants)
        object.__setattr__(self, "traffic_bound", floor(_exact(self.traffic) * owned))
        object.__setattr__(self, "arm_bounds", tuple(floor(share * SLOTS) for share in shares))
        covered = ranges([variant.share for variant in self.variants], coverage=self.traffic)
        object.__setattr__(self, "arm_ranges", covered)

    def _check_hashing(self) -> None:
        if self.hashing == "murmur3":
            _check_salt(f"experiment {self.name!r}", self.salt)
        elif self.hashing != "growthbook-2":
            raise InvalidExperiment(
                f"experiment {self.name!r}: hashing is {self.hashing!r}, must be murmur3 or growthbook-2"
            )
        elif not self.salt:
            raise InvalidExperiment(
                f"experiment {self.name!r}: salt is empty; give GrowthBook's seed, or its experiment key"
            )
        elif self.layer.slots != ((0, SLOTS),):
            raise InvalidExperiment(
                f"experiment {self.name!r}: growthbook-2 knows no layers;"
                f" give the layer all slots, [[0, {SLOTS}]]"
            )

    def _check_segments(self) -> None:
        _refuse_repeats(self.name, "segment", self.segments)
        afterwards = [segment for segment in self.segments if segment in _AFTERWARDS]
        if afterwards:
            raise InvalidExperiment(
                f"experiment {self.name!r}: segment {afterwards[0]!r} is known only after it was served, so"
                " it may be an effect; choose one that is known before, for example query_kind"
            )

    def _check_variants(self) -> None:
        names = [variant.name for variant in self.variants]
        _refuse_repeats(self.name, "variant", names)
        if len(names) < 2:
            raise InvalidExperiment(
                f"experiment {self.name!r}: has {len(names)} variant(s), needs at least 2"
            )
        if self.control not in names:
            raise InvalidExperiment(
                f"experiment {self.name!r}: control is {self.control!r}, must be one of {', '.join(names)}"
            )
        total = sum(_exact(variant.share) for variant in self.variants)
        if total != 1:
            raise InvalidExperiment(
                f"experiment {self.name!r}: shares sum to {float(total)}, must be 1; change a variant's share"
            )

    @property
    def control_variant(self) -> Variant:
        """The variant others are compared with."""
        return self.variant(self.control)

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise InvalidExperiment(f"experiment {self.name!r} has no variant {name!r}")

    @property
    def planned_end(self) -> datetime:
        """When the last planned look is due; nothing after it is analysed."""
        return self.start + timedelta(days=self.planned_looks * self.look_every_days)

    @property
    def signature(self) -> str:
        """A hash of all that must not change once started: everything but `traffic`, which may be ramped.

        What came to definitions later counts only where it is used: an upgrade changes no signature.
        """
        unused = [name for name, default in _LATER.items() if getattr(self, name) == default]
        text = json.dumps(
            _plain(self, without=("traffic", "traffic_bound", "arm_bounds", "arm_ranges", *unused)),
            sort_keys=True,
            ensure_ascii=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# Fields of an exposure that are no kind of unit: ids, moments, and what a variant itself changes.
_AFTERWARDS = (
    *("event_id", "experiment", "variant", "unit_id", "session_id", "query_id", "query", "occurred_at"),
    *("served", "counterfactual", "triggered", "reason", "degraded", "index_version", "model_id"),
    *("latency_ms", "would_change_pool", "depth_of_first_change", "teams", "team_weights"),
)

_LATER: Mapping[str, object] = {"targeting": (), "hashing": "murmur3"}


def _exact(share: float) -> Fraction:
    """A share as it was written: 0.1 is a tenth, not its nearest binary number."""
    return Fraction(repr(share))


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidExperiment(
            f"{what} name is {name!r}, must be lower-case letters, digits, - and _, at most 64,"
            " for example 'uniecs-recall'"
        )


def _check_salt(owner: str, salt: str) -> None:
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        raise InvalidExperiment(
            f"{owner}: salt is {salt!r}, must be 16 random hex digits;"
            " make one with: python -c 'import secrets; print(secrets.token_hex(8))'"
        )


def _refuse_repeats(experiment: str, what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidExperiment(f"experiment {experiment!r}: {what} {repeated[0]!r} is defined twice")


def refuse_overlap(layer: str, ranges: Sequence[tuple[int, int, str]]) -> None:
    """Refuse ranges (first, last, owner) of a layer that share a slot."""
    ordered = sorted(ranges)
    for (first, last, owner), (next_first, next_last, next_owner) in pairwise(ordered):
        if next_first < last:
            raise InvalidExperiment(
                f"layer {layer!r}: slots [{first}, {last}) of {owner} overlap"
                f" [{next_first}, {next_last}) of {next_owner}; give each experiment its own"
            )


def _plain(value: Any, *, without: Sequence[str] = ()) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return value
    return {name: _plain(getattr(value, name)) for name in fields if name not in without}
