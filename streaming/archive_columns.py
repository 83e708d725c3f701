"""The columns of the archive: the fields of Exposure and Outcome, in Arrow.

pyarrow is loaded when a table is made, not when this is imported.
"""

from collections.abc import Sequence
from datetime import UTC
from functools import cache
from typing import Any

from experiments.exposure import Exposure, Outcome


def event_day(event: Exposure | Outcome) -> str:
    """The day, in UTC, that an event belongs to.

    >>> from datetime import datetime
    >>> event_day(Outcome(event_id="1", kind="click", unit_id="u", product_id="p",
    ...                   occurred_at=datetime.fromisoformat("2026-11-20T23:30:00-01:00")))
    '2026-11-21'
    """
    return event.occurred_at.astimezone(UTC).date().isoformat()


def to_table(kind: str, events: Sequence[Exposure | Outcome]) -> Any:
    """Return an Arrow table of events of one kind, in order."""
    import pyarrow as pa

    return pa.Table.from_pylist([_row(event) for event in events], schema=schema(kind))


@cache
def schema(kind: str) -> Any:
    """The columns of one kind: `exposures` or `outcomes`."""
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", tz="UTC")
    rank = pa.struct([("channel", text), ("rank", pa.int32())])
    served = pa.struct(
        [
            ("product_id", text),
            ("position", pa.int32()),
            ("channels", pa.list_(text)),
            ("rank_per_channel", pa.list_(rank)),
        ]
    )
    if kind == "outcomes":
        return pa.schema(
            [
                ("event_id", text),
                ("kind", text),
                ("unit_id", text),
                ("occurred_at", moment),
                ("product_id", text),
                ("query_id", text),
                ("position", pa.int32()),
                ("revenue", pa.float64()),
                ("currency", text),
            ]
        )
    return pa.schema(
        [
            ("event_id", text),
            ("experiment", text),
            ("variant", text),
            ("unit_id", text),
            ("session_id", text),
            ("query_id", text),
            ("query", text),
            ("query_kind", text),
            ("occurred_at", moment),
            ("served", pa.list_(served)),
            ("counterfactual", pa.list_(text)),
            ("triggered", pa.bool_()),
            ("reason", text),
            ("degraded", pa.bool_()),
            ("index_version", text),
            ("model_id", text),
            ("latency_ms", pa.float64()),
            ("would_change_pool", pa.bool_()),
            ("depth_of_first_change", pa.int32()),
            ("teams", pa.list_(text)),
            ("team_weights", pa.list_(pa.float64())),
        ]
    )


def _row(event: Exposure | Outcome) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in type(event).__dataclass_fields__}
    row["occurred_at"] = event.occurred_at.astimezone(UTC)
    if isinstance(event, Exposure):
        row["counterfactual"] = list(event.counterfactual)
        row["served"] = [
            {
                "product_id": one.product_id,
                "position": one.position,
                "channels": list(one.channels),
                "rank_per_channel": [
                    {"channel": channel, "rank": rank} for channel, rank in one.rank_per_channel.items()
                ],
            }
            for one in event.served
        ]
    return row
