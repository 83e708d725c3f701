"""What is kept of the logs: moments that add up, and the counts around them.

`Aggregates` is the single product of a scan: every report can be made again
from it. It knows no unit by name. Moments are held as means and sums of
products of deviations, never as sums of squares, which lose all digits when
the mean is large.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from .errors import InvalidData
from .experiment import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, means and co-moments of some columns over units; addition is exact merging.

    Attributes:
        comoments: for columns i and j, the sum over units of (x_i - mean_i)(x_j - mean_j).
    """

    columns: tuple[str, ...]
    count: int
    means: tuple[float, ...]
    comoments: tuple[tuple[float, ...], ...]

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets of units together (Chan, Golub and LeVeque 1979)."""
        if self.columns != other.columns:
            raise InvalidData(f"moments of {self.columns} cannot be added to moments of {other.columns}")
        if not self.count or not other.count:
            return other if not self.count else self
        count = self.count + other.count
        apart = [theirs - ours for ours, theirs in zip(self.means, other.means, strict=True)]
        weight = self.count * other.count / count
        return Moments(
            columns=self.columns,
            count=count,
            means=tuple(
                mean + gap * other.count / count for mean, gap in zip(self.means, apart, strict=True)
            ),
            comoments=tuple(
                tuple(
                    a + b + apart[i] * apart[j] * weight
                    for j, (a, b) in enumerate(zip(ours, theirs, strict=True))
                )
                for i, (ours, theirs) in enumerate(zip(self.comoments, other.comoments, strict=True))
            ),
        )

    def mean(self, column: str) -> float:
        """The mean over units."""
        return self.means[self.columns.index(column)]

    def covariance(self, one: str, other: str) -> float:
        """The sample covariance over units (divided by count - 1); of a column with itself, its variance."""
        if self.count < 2:
            raise InvalidData(f"a variance needs two units, there are {self.count}")
        return self.comoments[self.columns.index(one)][self.columns.index(other)] / (self.count - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a column is spread over one variant's units: its skewness, if it varies, and its largest."""

    skewness: float | None
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The moments of each variant over a stretch of time, [since, until)."""

    since: datetime
    until: datetime
    moments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Totals of one variant, to be looked at, not tested. None: nothing to compute it from."""

    variant: str
    units: int
    searches: int
    clicks: int
    add_to_carts: int
    orders: int
    revenue: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    degraded_share: float | None
    empty_share: float | None
    triggered_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of every row in the logs."""

    exposure_rows: int
    exposure_repeats: int
    exposures_counted: int
    exposures_outside_window: int
    exposures_by_other_reason: Mapping[str, int]
    exposures_of_unplanned_variants: Mapping[str, int]
    outcome_rows: int
    outcome_repeats: int
    outcomes_counted: int
    outcomes_outside_window: int
    outcomes_without_exposure: int
    outcomes_before_exposure: int
    outcomes_too_late: int
    outcomes_of_crossed_units: int
    units: int
    crossed_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregates:
    """The single product of a scan of the logs.

    Attributes:
        signature: of the definition the scan followed.
        caps: value at which each capped column was cut, by column name.
        searches_per_day: by ISO day, then variant.
        looks: since the start, one per look so far; the last is now.
        weeks: each stretch between looks by itself.
        assigned: units by variant, those served two variants among them, each in its first.
        trigger: how it is known whether a page changed: `both sides`, `by query`, or `none`.
        channels: that found what was clicked or ordered, base first.
        ages: edges in days since a unit's first search; empty while it is too early.
        cuts: the same units cut finer, by name, then variant; see `part_scan`.
        shapes: by variant, then column.
        buckets: by variant, packed; see `buckets`.
        interleaved: votes and credit, by variant that has such pages; see `mixed_scan`.
    """

    experiment: str
    signature: str
    since: datetime
    until: datetime
    currencies: tuple[str, ...]
    caps: Mapping[str, float]
    counts: Counts
    arms: tuple[Arm, ...]
    searches_per_day: Mapping[str, Mapping[str, int]]
    looks: tuple[Slice, ...]
    weeks: tuple[Slice, ...]
    assigned: Mapping[str, int]
    trigger: str
    channels: tuple[str, ...]
    ages: tuple[int, ...]
    cuts: Mapping[str, Mapping[str, Moments]]
    shapes: Mapping[str, Mapping[str, Shape]]
    buckets: Mapping[str, Mapping[str, Any]]
    interleaved: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> str:
        """The aggregates as JSON; the same aggregates give the same text."""
        plain = asdict(self)
        return json.dumps(plain, default=datetime.isoformat, separators=(",", ":"), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Aggregates":
        """Read aggregates.

        Raises:
            InvalidData: not the JSON that `to_json` writes.
        """
        try:
            found = json.loads(text)
            if set(found) != {field.name for field in fields(cls)}:
                raise InvalidData("not an aggregates file: make it again with this version")
            return cls(
                **found
                | {
                    "since": datetime.fromisoformat(found["since"]),
                    "until": datetime.fromisoformat(found["until"]),
                    "currencies": tuple(found["currencies"]),
                    "counts": Counts(**found["counts"]),
                    "arms": tuple(Arm(**arm) for arm in found["arms"]),
                    "looks": tuple(_slice(look) for look in found["looks"]),
                    "weeks": tuple(_slice(week) for week in found["weeks"]),
                    "channels": tuple(found["channels"]),
                    "ages": tuple(found["ages"]),
                    "cuts": {name: _by_variant(cut) for name, cut in found["cuts"].items()},
                    "shapes": {
                        variant: {column: Shape(**shape) for column, shape in shapes.items()}
                        for variant, shapes in found["shapes"].items()
                    },
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"not an aggregates file: {error!r}") from error


def column_of(metric: Metric) -> str:
    """The column of a metric's numerator; a capped one is a column of its own."""
    return metric.numerator if metric.cap_quantile is None else f"{metric.numerator}@{metric.cap_quantile}"


def _slice(found: Mapping[str, Any]) -> Slice:
    return Slice(
        since=datetime.fromisoformat(found["since"]),
        until=datetime.fromisoformat(found["until"]),
        moments=_by_variant(found["moments"]),
    )


def _by_variant(found: Mapping[str, Any]) -> dict[str, Moments]:
    return {
        variant: Moments(
            columns=tuple(moments["columns"]),
            count=moments["count"],
            means=tuple(moments["means"]),
            comoments=tuple(tuple(row) for row in moments["comoments"]),
        )
        for variant, moments in found.items()
    }
