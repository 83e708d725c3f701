"""Logs made by hand or by lot, archived as the streaming side archives them."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.definition import Experiment

SERVED = pa.list_(
    pa.struct(
        [
            ("product_id", pa.string()),
            ("position", pa.int32()),
            ("channels", pa.list_(pa.string())),
            ("rank_per_channel", pa.list_(pa.struct([("channel", pa.string()), ("rank", pa.int32())]))),
        ]
    )
)
MOMENT = pa.timestamp("us", tz="UTC")
EXPOSURE_COLUMNS = pa.schema(
    [
        *[(name, pa.string()) for name in ("event_id", "experiment", "variant", "unit_id", "session_id")],
        *[(name, pa.string()) for name in ("query_id", "query", "query_kind")],
        ("occurred_at", MOMENT),
        ("served", SERVED),
        ("counterfactual", pa.list_(pa.string())),
        ("triggered", pa.bool_()),
        ("reason", pa.string()),
        ("degraded", pa.bool_()),
        ("index_version", pa.string()),
        ("model_id", pa.string()),
        ("latency_ms", pa.float64()),
        ("teams", pa.list_(pa.string())),
        ("team_weights", pa.list_(pa.float64())),
    ]
)
OUTCOME_COLUMNS = pa.schema(
    [
        *[(name, pa.string()) for name in ("event_id", "kind", "unit_id")],
        ("occurred_at", MOMENT),
        *[(name, pa.string()) for name in ("product_id", "query_id")],
        ("position", pa.int32()),
        ("revenue", pa.float64()),
        ("currency", pa.string()),
    ]
)
MUG = {
    "product_id": "mug",
    "position": 1,
    "channels": ["base"],
    "rank_per_channel": [{"channel": "base", "rank": 1}],
}

Rows = list[dict[str, Any]]


def exposure(
    experiment: Experiment, unit: str, variant: str, *, hours: float, **others: Any
) -> dict[str, Any]:
    """One served search, `hours` after the start."""
    at = experiment.start + timedelta(hours=hours)
    return {
        "event_id": f"e-{unit}-{hours}",
        "experiment": experiment.name,
        "variant": variant,
        "unit_id": unit,
        "session_id": "s",
        "query_id": f"q-{unit}-{hours}",
        "query": "mug",
        "query_kind": "text",
        "occurred_at": at,
        "served": [MUG],
        "counterfactual": [],
        "triggered": variant != experiment.control,
        "reason": "assigned",
        "degraded": False,
        "index_version": "1",
        "model_id": "m",
        "latency_ms": 10.0,
    } | others


def outcome(experiment: Experiment, unit: str, kind: str, *, hours: float, **others: Any) -> dict[str, Any]:
    """One outcome, `hours` after the start."""
    return {
        "event_id": f"o-{unit}-{kind}-{hours}",
        "kind": kind,
        "unit_id": unit,
        "occurred_at": experiment.start + timedelta(hours=hours),
        "product_id": "mug",
        "query_id": None,
        "position": None,
        "revenue": None,
        "currency": "EUR" if kind == "order" else "",
    } | others


def write_archive(
    folder: Path, exposures: Iterable[Mapping[str, Any]], outcomes: Iterable[Mapping[str, Any]]
) -> Path:
    """Archive events by day, as the streaming side does."""
    for kind, rows, columns in (
        ("exposures", list(exposures), EXPOSURE_COLUMNS),
        ("outcomes", list(outcomes), OUTCOME_COLUMNS),
    ):
        days: dict[str, Rows] = {}
        for row in rows:
            at: datetime = row["occurred_at"]
            days.setdefault(at.date().isoformat(), []).append(dict(row))
        for day, of_day in days.items():
            (folder / kind / f"day={day}").mkdir(parents=True, exist_ok=True)
            pq.write_table(
                pa.Table.from_pylist(of_day, columns), folder / kind / f"day={day}" / "part-0.parquet"
            )
    return folder


def shop(
    experiment: Experiment,
    *,
    units: int,
    click_lift: float = 0.0,
    order_lift: float = 0.0,
    seed: int = 0,
    days: int = 28,
    treated_share: float = 0.5,
) -> tuple[Rows, Rows]:
    """Uneven shoppers over some days, with a planted lift in clicks per search and in orders."""
    lots = np.random.default_rng(seed)
    exposures: Rows = []
    outcomes: Rows = []
    for number in range(units):
        unit = f"shopper-{number}"
        treated = lots.random() < treated_share
        variant = "treatment" if treated else "control"
        taste = lots.beta(2, 5) * (1 + click_lift * treated)  # clicks per search
        for hours in np.sort(lots.uniform(0, 24 * days, 1 + lots.geometric(0.3))).round(4):
            exposures.append(
                exposure(experiment, unit, variant, hours=float(hours), latency_ms=float(lots.gamma(9, 2)))
            )
            if lots.random() < taste:
                outcomes.append(outcome(experiment, unit, "click", hours=float(hours) + 0.01))
                if lots.random() < 0.2 * (1 + order_lift * treated):
                    price = float(np.round(lots.lognormal(3, 0.6), 2))
                    outcomes.append(
                        outcome(experiment, unit, "order", hours=float(hours) + 0.02, revenue=price)
                    )
    return exposures, outcomes
