"""Our events in the words of OpenSearch UBI 1.3: a query and an event record for its own tools.

A superset: what UBI has no name for goes where it lets anybody put things,
`query_attributes` and `event_attributes`. The unit is UBI's client, a product
its object, a place on the page its ordinal.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from experiments.exposure import Exposure, Mark, Outcome

# UBI's own names for deeds, where it has one.
_ACTIONS = {"click": "click", "add_to_cart": "add_to_cart", "order": "purchase"}


def ubi_query(exposure: Exposure, *, application: str = "uniecs-online") -> Mapping[str, Any]:
    """A served search as a row of `ubi_queries`."""
    return {
        "application": application,
        "query_id": exposure.query_id,
        "client_id": exposure.unit_id,
        "user_query": exposure.query,
        "object_id_field": "product_id",
        "timestamp": _timestamp(exposure.occurred_at),
        "query_response_id": exposure.event_id,
        "query_response_hit_ids": [product.product_id for product in exposure.served],
        "query_attributes": {
            "experiment": exposure.experiment,
            "variant": exposure.variant,
            "session_id": exposure.session_id,
            "query_kind": exposure.query_kind,
            "triggered": exposure.triggered,
            "degraded": exposure.degraded,
            "index_version": exposure.index_version,
            "model_id": exposure.model_id,
            "latency_ms": exposure.latency_ms,
            "channels": [list(product.channels) for product in exposure.served],
        },
    }


def ubi_event(event: Outcome | Mark, *, application: str = "uniecs-online") -> Mapping[str, Any]:
    """A deed or a mark as a row of `ubi_events`."""
    common: dict[str, Any] = {
        "application": application,
        "query_id": event.query_id or "",
        "client_id": event.unit_id,
        "timestamp": _timestamp(event.occurred_at),
    }
    if isinstance(event, Mark):
        attributes: dict[str, Any] = {
            "event_id": event.event_id,
            "experiment": event.experiment,
            "phase": event.phase,
            "variant": event.variant,
            "would_change_page": event.would_change_page,
            "position": {"ordinal": event.depth_of_first_change or 0},
        }
        return common | {
            "action_name": event.kind,
            "session_id": event.session_id,
            "message_type": "EXPERIMENT",
            "event_attributes": attributes,
        }
    details: dict[str, Any] = {
        "event_id": event.event_id,
        "object": {
            "object_id": event.product_id,
            "object_id_type": "product",
            "object_id_field": "product_id",
        },
        "position": {"ordinal": event.position or 0},
        "revenue": event.revenue,
        "currency": event.currency,
    }
    return common | {
        "action_name": _ACTIONS[event.kind],
        "message_type": "CONVERSION" if event.kind == "order" else "CLICK",
        "event_attributes": details,
    }


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
