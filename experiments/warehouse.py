"""Archived logs to aggregates, by DuckDB over Parquet.

The archive is `exposures/day=*/*.parquet` and `outcomes/day=*/*.parquet`; the
folders' names are not trusted, the events' own times are. Repeated events count
once, and what does not count is counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from .errors import InvalidData
from .experiment import COLUMNS, Experiment
from .metrics import Aggregates, Arm, Counts, Moments, Slice, column_of
from .scan import unit_query
from .scan.mixed_scan import scan_mixed
from .scan.moment_query import moments_by
from .scan.part_scan import PartScan
from .scan.segment_scan import scan_segments

# What a table that cannot be read raises, for the doors that read others than the archive.
DatabaseError = duckdb.Error

# What a scan may hold in memory; the rest goes to the disk, under TMPDIR.
MEMORY = "4GB"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_NEEDED = {
    "exposures": (
        *("event_id", "experiment", "variant", "unit_id", "occurred_at"),
        *("query_id", "query", "query_kind"),
        *("served", "triggered", "reason", "degraded", "latency_ms"),
    ),
    "outcomes": (
        *("event_id", "kind", "unit_id", "occurred_at", "query_id", "product_id", "revenue", "currency"),
    ),
}

# How long before the start a unit's deeds are looked at, where the archive has them.
BEFORE = timedelta(days=28)


def collect(experiment: Experiment, logs: Path, *, until: datetime | None = None) -> Aggregates:
    """Scan the archive once, from the experiment's start.

    Args:
        experiment: says what counts.
        logs: the archive's folder.
        until: events from then on are left out; by default, the midnight (UTC)
            after the last exposure. Never later than the planned end.

    Raises:
        InvalidData: the archive is missing, unreadable or lacks a column, or
            holds no exposure in the window.
    """
    with connect() as connection:
        for kind, needed in _NEEDED.items():
            _open_log(connection, logs, kind, needed)
        connection.execute(unit_query.EXPOSURES, {"experiment": experiment.name})
        until = min(_until(connection, experiment, logs, until), experiment.planned_end)
        scan = _Scan(connection, experiment, until)
        scan.build()
        return scan.aggregates()


class _Scan:
    """One pass: the tables, then what is read off them."""

    def __init__(self, connection: Any, experiment: Experiment, until: datetime) -> None:
        self._connection = connection
        self._experiment = experiment
        self._until = until
        self._every = timedelta(days=experiment.look_every_days)
        self._parameters = {
            "start_us": _us(experiment.start),
            "until_us": _us(until),
            "every_us": self._every // _MICROSECOND,
            "attribution_us": timedelta(days=experiment.attribution_days) // _MICROSECOND,
            "before_us": BEFORE // _MICROSECOND,
            "variants": [variant.name for variant in experiment.variants],
            "control": experiment.control,
            "experiment": experiment.name,
        }
        self._parts = PartScan(experiment, self._run, self._rows, length=until - experiment.start)

    def build(self) -> None:
        """Make the tables, and refuse a window with nothing in it."""
        self._run(unit_query.SEARCHES)
        if self._number("SELECT count(*) FROM search") == 0:
            raise InvalidData(self._why_nothing())
        for step in (
            unit_query.UNITS,
            unit_query.OUTCOMES,
            unit_query.UNIT_WEEKS,
            unit_query.UNITS_BEFORE,
        ):
            self._run(step)
        self._parts.build()
        # From here on floats are added: one thread, one order, the same bytes every time.
        self._connection.execute("SET threads = 1")

    def aggregates(self) -> Aggregates:
        """Read everything off the tables."""
        experiment = self._experiment
        caps = self._caps()
        columns = self._parts.whole(caps)
        cuts = self._parts.cuts(columns, caps)
        cuts |= scan_segments(self._run, self._rows, experiment.segments, (*COLUMNS, *caps))
        starts = [experiment.start + week * self._every for week in range(self._weeks())]
        ends = [min(start + self._every, self._until) for start in starts]
        return Aggregates(
            experiment=experiment.name,
            signature=experiment.signature,
            since=experiment.start,
            until=self._until,
            currencies=self._texts(
                "SELECT DISTINCT currency FROM outcome"
                " WHERE fate = 'counted' AND kind = 'order' AND revenue <> 0"
            ),
            caps=caps,
            counts=self._counts(),
            arms=self._arms(),
            searches_per_day=self._searches_per_day(),
            looks=tuple(
                Slice(since=experiment.start, until=end, moments=self._moments(0, week, caps))
                for week, end in enumerate(ends)
            ),
            weeks=tuple(
                Slice(since=start, until=end, moments=self._moments(week, week, caps))
                for week, (start, end) in enumerate(zip(starts, ends, strict=True))
            ),
            assigned=dict(sorted(self._rows(unit_query.ASSIGNED))),
            trigger=self._parts.trigger,
            channels=self._parts.channels,
            ages=self._parts.ages,
            cuts=cuts,
            shapes=self._parts.shapes(cuts, (*COLUMNS, *caps)),
            buckets=self._parts.buckets(caps),
            interleaved=scan_mixed(self._run, self._rows, looks=len(ends)),
        )

    def _weeks(self) -> int:
        return -((self._experiment.start - self._until) // self._every)

    def _caps(self) -> dict[str, float]:
        """One value per capped column, from the units of all variants that have any of it."""
        caps = {}
        for metric in self._experiment.metrics:
            if metric.cap_quantile is None:
                continue
            value = self._number(
                f"SELECT quantile_cont(total, {metric.cap_quantile}) FROM"  # noqa: S608 - names from the definition
                f" (SELECT CAST(sum({metric.numerator}) AS DOUBLE) AS total FROM unit_week GROUP BY unit_id)"
                " WHERE total > 0"
            )
            if value is not None:
                caps[column_of(metric)] = value
        return caps

    def _moments(self, first_week: int, last_week: int, caps: dict[str, float]) -> dict[str, Moments]:
        capped = {column: f"least({column.partition('@')[0]}, {value!r})" for column, value in caps.items()}
        names = (*COLUMNS, *capped)
        totals = ", ".join(f"CAST(sum({column}) AS DOUBLE) AS {column}" for column in COLUMNS)
        cut = "".join(f', {expression} AS "{column}"' for column, expression in capped.items())
        relation = (
            f"(SELECT *{cut} FROM (SELECT variant, unit_id, {totals} FROM unit_week"  # noqa: S608 - names from the definition
            f" WHERE week BETWEEN {first_week} AND {last_week} GROUP BY variant, unit_id)) AS unit_stretch"
        )
        return {key[0]: found for key, found in moments_by(self._rows, relation, names).items()}

    def _arms(self) -> tuple[Arm, ...]:
        speeds = {variant: rest for variant, *rest in self._rows(unit_query.ARMS)}
        totals = ", ".join(f"sum({column})" for column in COLUMNS)
        sums = {
            variant: (units, dict(zip(COLUMNS, numbers, strict=True)))
            for variant, units, *numbers in self._rows(
                f"SELECT variant, count(DISTINCT unit_id), {totals} FROM unit_week GROUP BY variant"  # noqa: S608
            )
        }
        return tuple(
            _arm(
                variant.name, *sums.get(variant.name, (0, {})), *speeds.get(variant.name, (None, None, None))
            )
            for variant in self._experiment.variants
        )

    def _searches_per_day(self) -> dict[str, dict[str, int]]:
        days: dict[str, dict[str, int]] = {}
        for day, variant, searches in sorted(self._rows(unit_query.SEARCHES_PER_DAY)):
            date = (self._experiment.start + timedelta(days=day)).date().isoformat()
            days.setdefault(date, {})[variant] = searches
        return days

    def _counts(self) -> Counts:
        exposures: dict[str, dict[str, int]] = {}
        for fate, name, count in self._rows(unit_query.EXPOSURE_FATES):
            exposures.setdefault(fate, {})[str(name)] = count
        outcomes = dict(self._rows("SELECT fate, count(*) FROM outcome GROUP BY fate"))
        return Counts(
            exposure_rows=self._number("SELECT coalesce(sum(copies), 0) FROM exposure"),
            exposure_repeats=self._number("SELECT coalesce(sum(copies - 1 - told_again), 0) FROM exposure"),
            exposures_counted=sum(exposures.get("counted", {}).values()),
            exposures_outside_window=sum(exposures.get("outside_window", {}).values()),
            exposures_by_other_reason=exposures.get("other_reason", {}),
            exposures_of_unplanned_variants=exposures.get("unplanned_variant", {}),
            outcome_rows=self._number("SELECT coalesce(sum(copies), 0) FROM outcome"),
            outcome_repeats=self._number("SELECT coalesce(sum(copies - 1), 0) FROM outcome"),
            outcomes_counted=outcomes.get("counted", 0),
            outcomes_outside_window=outcomes.get("outside_window", 0),
            outcomes_without_exposure=outcomes.get("without_exposure", 0),
            outcomes_before_exposure=outcomes.get("before_exposure", 0),
            outcomes_too_late=outcomes.get("too_late", 0),
            outcomes_of_crossed_units=outcomes.get("of_crossed_units", 0),
            units=self._number("SELECT count(*) FROM unit"),
            crossed_units=self._number("SELECT count(*) FROM unit WHERE crossed"),
        )

    def _why_nothing(self) -> str:
        experiment = self._experiment
        first, last, count = self._rows("SELECT min(at_us), max(at_us), count(*) FROM exposure")[0]
        window = f"[{experiment.start.isoformat()}, {self._until.isoformat()})"
        if not count:
            return f"no exposure of experiment {experiment.name!r} in the logs; is the archiver running?"
        query = "SELECT reason, count(*) FROM exposure GROUP BY reason ORDER BY reason"
        reasons = ", ".join(f"{reason} {number}" for reason, number in self._rows(query))
        return (
            f"no exposure of experiment {experiment.name!r} in {window} that was assigned a planned variant;"
            f" the logs hold {count} from {_moment(first).isoformat()} to {_moment(last).isoformat()}"
            f" (by reason: {reasons}); check the definition's start, variants and --until"
        )

    def _run(self, query: str, **more: Any) -> Any:
        given = self._parameters | more
        wanted = {name: value for name, value in given.items() if f"${name}" in query}
        try:
            return self._connection.execute(query, wanted)
        except duckdb.Error as error:
            raise InvalidData(f"the logs cannot be analysed: {_first_line(error)}") from error

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()  # type: ignore[no-any-return]

    def _number(self, query: str) -> Any:
        return self._rows(query)[0][0]

    def _texts(self, query: str) -> tuple[str, ...]:
        return tuple(sorted(str(text or "") for (text,) in self._rows(query)))


@contextmanager
def connect(what: str = "the logs") -> Iterator[Any]:
    """A database in memory; what it cannot do with `what` is `InvalidData`."""
    with TemporaryDirectory(prefix="experiments-") as spill:
        connection = duckdb.connect(":memory:", config={"memory_limit": MEMORY, "temp_directory": spill})
        try:
            yield connection
        except duckdb.Error as error:
            raise InvalidData(f"{what} cannot be analysed: {_first_line(error)}") from error
        finally:
            connection.close()


def _open_log(connection: Any, logs: Path, kind: str, needed: Sequence[str]) -> None:
    """A view `exposure_log` or `outcome_log` over the files of a kind."""
    files = sorted(
        path for path in (logs / kind).glob("**/*.parquet") if not path.name.startswith((".", "_"))
    )
    if not files:
        raise InvalidData(
            f"no Parquet files under {logs / kind}; archive the {kind} first, or point --logs at the archive"
        )
    for file in files:
        try:
            relation = connection.read_parquet(str(file), hive_partitioning=False)
        except duckdb.Error as error:
            raise InvalidData(
                f"{file} ({file.stat().st_size} bytes) is not readable Parquet: {error}"
            ) from error
        missing = [name for name in needed if name not in relation.columns]
        if missing:
            raise InvalidData(f"{file} has no column {missing[0]!r}; {kind} need {', '.join(needed)}")
    everything = connection.read_parquet(
        [str(file) for file in files], hive_partitioning=False, union_by_name=True
    )
    everything.create_view(f"{kind[:-1]}_log")


def _until(connection: Any, experiment: Experiment, logs: Path, until: datetime | None) -> datetime:
    if until is None:
        (last_us,) = connection.execute("SELECT max(at_us) FROM exposure").fetchone()
        if last_us is None:
            raise InvalidData(
                f"no exposure of experiment {experiment.name!r} under {logs}; is the archiver running?"
            )
        last = _moment(last_us)
        until = last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if until <= experiment.start:
        raise InvalidData(
            f"nothing to report until {until.isoformat()}: {experiment.name!r} starts"
            f" {experiment.start.isoformat()}; give a later --until"
        )
    return until


def _arm(
    variant: str,
    units: int,
    sums: dict[str, Any],
    p50: float | None,
    p95: float | None,
    triggered: float | None,
) -> Arm:
    searches = int(sums.get("searches", 0))

    def share(column: str) -> float | None:
        return float(sums[column]) / searches if searches else None

    return Arm(
        variant=variant,
        units=units,
        searches=searches,
        clicks=int(sums.get("clicks", 0)),
        add_to_carts=int(sums.get("add_to_carts", 0)),
        orders=int(sums.get("orders", 0)),
        revenue=float(sums.get("revenue", 0)),
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        degraded_share=share("degraded_searches"),
        empty_share=share("empty_searches"),
        triggered_share=triggered,
    )


def _first_line(error: Exception) -> str:
    """What went wrong, without the statement that DuckDB draws below it."""
    return str(error).strip().partition("\n")[0]


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND
