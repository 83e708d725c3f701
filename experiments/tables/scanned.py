"""What a table comes down to: the single product of a scan, of which every comparison is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.metrics import Moments, Shape

from .quantiles import Quantile

# More variants, or more values of a segment, than this are the wrong column.
MOST_VARIANTS = 20
MOST_SEGMENTS = 200

WHOLE = ""  # the segment that is everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class TableScan:
    """What a table comes down to; it knows no unit by name.

    Attributes:
        units: by variant, those in two variants left out.
        unlabelled_rows: rows without a variant, left out.
        crossed_units: units seen in two variants, left out.
        missing: rows without a value, by column and variant.
        caps: the value at which a capped metric was cut.
        moments: by (metric, segment, value), then variant; columns y, and d, x, e where it has them.
        raw: the same of capped metrics, uncapped.
        shapes: by metric, then variant, of what is compared.
        quantiles: by metric, then variant.
    """

    units: Mapping[str, int]
    rows: int
    unlabelled_rows: int
    crossed_units: int
    missing: Mapping[str, Mapping[str, int]]
    caps: Mapping[str, float]
    moments: Mapping[tuple[str, str, str], Mapping[str, Moments]]
    raw: Mapping[tuple[str, str, str], Mapping[str, Moments]]
    shapes: Mapping[str, Mapping[str, Shape]]
    quantiles: Mapping[str, Mapping[str, Quantile]] = field(default_factory=dict)
