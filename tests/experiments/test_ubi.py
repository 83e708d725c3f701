"""UBI's own tools can read our events: names, kinds and lengths of its schema, version 1.3."""

from typing import Any

import jsonschema
import pytest

from experiments.events.ubi import ubi_event, ubi_query
from experiments.exposure import Outcome
from tests.experiments.test_event_logs import NOW, exposure, mark

SHORT = {"type": "string", "maxLength": 100}
# Written from the published schema's field list.
QUERY = {
    "required": ["user_query"],
    "properties": {
        "application": SHORT,
        "query_id": SHORT,
        "client_id": SHORT,
        "user_query": {"type": "string"},
        "query_attributes": {"type": "object"},
        "object_id_field": SHORT,
        "timestamp": {"type": "string", "pattern": "Z$"},
        "query_response_id": {"type": "string"},
        "query_response_hit_ids": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}
EVENT = {
    "required": ["action_name", "timestamp"],
    "properties": {
        "application": SHORT,
        "action_name": SHORT,
        "query_id": SHORT,
        "session_id": SHORT,
        "client_id": SHORT,
        "timestamp": {"type": "string", "pattern": "Z$"},
        "message_type": SHORT,
        "event_attributes": {
            "required": ["position"],
            "properties": {
                "object": {"required": ["object_id"]},
                "position": {"required": ["ordinal"], "properties": {"ordinal": {"type": "integer"}}},
            },
        },
    },
    "additionalProperties": False,
}


def outcome(kind: Any) -> Outcome:
    return Outcome(
        event_id="o1",
        kind=kind,
        unit_id="用户1",
        occurred_at=NOW,
        product_id="mug",
        query_id="q1",
        position=3,
    )


def test_a_served_search_is_a_query_of_theirs() -> None:
    """The page in its order; what they have no name for is an attribute."""
    row = ubi_query(exposure())
    jsonschema.validate(row, QUERY)

    assert ("red mug", ["mug"], "treatment") == (
        row["user_query"],
        row["query_response_hit_ids"],
        row["query_attributes"]["variant"],
    )


@pytest.mark.parametrize(
    ("event", "action"),
    [
        (outcome("click"), "click"),
        (outcome("add_to_cart"), "add_to_cart"),
        (outcome("order"), "purchase"),
        (mark("triggered", depth_of_first_change=5), "triggered"),
        (mark("assigned"), "assigned"),
    ],
)
def test_a_deed_or_a_mark_is_an_event_of_theirs(event: Any, action: str) -> None:
    """Under their name for it; product and place where they look for them."""
    row = ubi_event(event)
    jsonschema.validate(row, EVENT)

    assert action == row["action_name"]
    if isinstance(event, Outcome):
        assert ("mug", 3) == (
            row["event_attributes"]["object"]["object_id"],
            row["event_attributes"]["position"]["ordinal"],
        )
