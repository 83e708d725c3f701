"""The finer cuts of a scan: by trigger, channel, age, kind of query, and by bucket.

Runs the queries of `part_query` on the tables that `warehouse` has made.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from experiments.experiment import COLUMNS, Experiment
from experiments.metrics import Moments, Shape, column_of

from . import part_query
from .buckets import BUCKETS, pack
from .moment_query import Rows, moments_by

Cuts = dict[str, dict[str, Moments]]

# What a unit did before the start, by the column that it foretells.
BEFORE = ("searches", "clicks", "orders", "revenue")

# More channels, or kinds of query, than this and a cut says nothing.
MOST_CHANNELS = 8
MOST_CLUSTERS = 40

_DAY_US = 86_400_000_000


class PartScan:
    """Makes the tables in `build`; reads moments off them afterwards."""

    def __init__(self, experiment: Experiment, run: Callable[..., Any], rows: Rows, *, length: timedelta):
        self._experiment, self._run, self._rows = experiment, run, rows
        days = length // timedelta(days=1)
        # A fixed cohort: whoever came in the first half of the time is seen for the other half.
        reach = [edge for edge in part_query.AGE_EDGES if edge <= max(days // 2, 1)]
        self.ages: tuple[int, ...] = tuple(reach) if len(reach) > 2 else ()
        self.channels: tuple[str, ...] = ()
        self.trigger = "none"
        self._part_columns: tuple[str, ...] = ()
        self._age_columns: tuple[str, ...] = ()

    def build(self) -> None:
        """The tables, in as many threads as there are: nothing with a fraction is added here."""
        two_sided = bool(self._rows(part_query.BOTH_KNOW)[0][0])
        self._run(part_query.LABELS)
        labelled = self._rows("SELECT count(*) FROM label")[0][0]
        self.trigger = "both sides" if two_sided else "by query" if labelled else "none"
        self._run(part_query.FAMES)
        self._run(part_query.placed(two_sided=two_sided))
        self._run(part_query.FOUND)
        named = [name for (name,) in self._rows(part_query.CHANNELS)]
        self.channels = (part_query.BASE, *[name for name in named if name != part_query.BASE])[
            :MOST_CHANNELS
        ]
        query, self._part_columns = part_query.unit_parts(self.channels)
        self._run(query)
        self._run(part_query.UNIT_CLUSTERS)
        if self.ages:
            self._run(part_query.COHORT, horizon_us=self.ages[-1] * _DAY_US)
            query, self._age_columns = part_query.unit_ages(self.ages)
            self._run(query)

    def whole(self, caps: Mapping[str, float]) -> tuple[str, ...]:
        """The table `unit_row`, one row per unit with everything known of it; its columns."""
        totals = ", ".join(f"CAST(sum({column}) AS DOUBLE) AS {column}" for column in COLUMNS)
        before = ", ".join(
            f"coalesce(CAST(unit_before.{name} AS DOUBLE), 0) AS {name}_before" for name in BEFORE
        )
        cut = "".join(
            f', least(total.{column.partition("@")[0]}, {value!r}) AS "{column}"'
            for column, value in caps.items()
        )
        parts = "".join(f", CAST(coalesce({name}, 0) AS DOUBLE) AS {name}" for name in self._part_columns)
        self._run(
            "CREATE TEMP TABLE unit_row AS WITH total AS"  # noqa: S608 - names from the definition
            f" (SELECT variant, unit_id, {totals} FROM unit_week GROUP BY variant, unit_id)"
            f" SELECT total.*{cut}, {before}{parts}, coalesce(class, 'unknown') AS class,"
            f" CAST(md5_number_lower(total.unit_id) % {BUCKETS} AS INTEGER) AS bucket"
            " FROM total LEFT JOIN unit_before ON total.unit_id = unit_before.unit_id"
            " LEFT JOIN unit_part ON total.unit_id = unit_part.unit_id ORDER BY total.variant, total.unit_id"
        )
        return (*COLUMNS, *caps, *(f"{name}_before" for name in BEFORE))

    def cuts(self, columns: Sequence[str], caps: Mapping[str, float]) -> Cuts:
        """Every cut by name, then variant."""
        cuts: Cuts = {"whole": self._by_variant("unit_row", columns)}
        plain = (*COLUMNS, *caps)
        for (of_class, variant), found in moments_by(
            self._rows, "unit_row", plain, by=("class", "variant")
        ).items():
            cuts.setdefault(f"class:{of_class}", {})[variant] = found
        cuts["parts"] = self._by_variant("unit_row", ("searches", "clicks", "revenue", *self._part_columns))
        if self.ages:
            casts = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in self._age_columns)
            relation = f"(SELECT variant, {casts} FROM unit_age) AS ages"  # noqa: S608 - columns of our own naming
            cuts["ages"] = self._by_variant(relation, self._age_columns)
        names = self._rows(
            "SELECT cluster FROM unit_cluster GROUP BY cluster ORDER BY sum(searches) DESC, cluster"
        )
        kept = {str(name) for (name,) in names[:MOST_CLUSTERS]}
        for (cluster, variant), found in moments_by(
            self._rows, "unit_cluster", ("searches", "clicks"), by=("cluster", "variant")
        ).items():
            if cluster in kept:
                cuts.setdefault(f"cluster:{cluster}", {})[variant] = found
        return cuts

    def buckets(self, caps: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """By variant, the moments of what the metrics are made of in each bucket."""
        used = dict.fromkeys(
            name
            for metric in self._experiment.metrics
            for name in (column_of(metric), metric.denominator)
            if name in (*COLUMNS, *caps)
        )
        columns = tuple(name for name in used if name is not None)
        found: dict[str, dict[int, Moments]] = {}
        for (variant, bucket), moments in moments_by(
            self._rows, "unit_row", columns, by=("variant", "bucket")
        ).items():
            found.setdefault(variant, {})[int(bucket)] = moments
        return {variant: pack(buckets, columns) for variant, buckets in found.items()}

    def shapes(self, cuts: Cuts, columns: Sequence[str]) -> dict[str, dict[str, Shape]]:
        """How a column is spread over a variant's units: skewness about its own mean, and the largest."""
        shapes: dict[str, dict[str, Shape]] = {}
        for variant, found in cuts["whole"].items():
            parts = []
            for column in columns:
                away = f'"{column}" - {found.mean(column)!r}'
                parts += [f"avg(({away}) * ({away}) * ({away}))", f'max("{column}")']
            numbers = self._rows(
                f"SELECT {', '.join(parts)} FROM unit_row WHERE variant = '{variant}'"  # noqa: S608 - a checked name
            )[0]
            shapes[variant] = {}
            for place, column in enumerate(columns):
                spread = found.comoments[found.columns.index(column)][found.columns.index(column)]
                deviation = (spread / found.count) ** 0.5
                shapes[variant][column] = Shape(
                    skewness=numbers[2 * place] / deviation**3 if deviation > 0 else None,
                    largest=numbers[2 * place + 1],
                )
        return shapes

    def _by_variant(self, relation: str, columns: Sequence[str]) -> dict[str, Moments]:
        return {key[0]: found for key, found in moments_by(self._rows, relation, columns).items()}
