"""The OpenAPI document: FastAPI's own, with the two paths that are not FastAPI's."""

from typing import Any

from .problems import MEDIA_TYPE, PROBLEM_SCHEMA
from .words import schemas

_REFUSALS = {
    "400": "The body is not JSON.",
    "403": "The override does not hold.",
    "404": "The uploaded image is not known.",
    "408": "The body did not come in time.",
    "409": "The query's id is taken, or was begun for somebody else.",
    "413": "The body is too large.",
    "415": "The body is not application/json, or compressed.",
    "422": "The question breaks a rule.",
    "502": "The image's address did not answer.",
    "503": "Too many searches wait for their base.",
}


def with_recall(document: dict[str, Any]) -> dict[str, Any]:
    """The document, completed in place."""
    bodies, components = schemas("#/components/schemas/{name}")
    known = document.setdefault("components", {}).setdefault("schemas", {})
    known |= components | {"Problem": PROBLEM_SCHEMA}
    document["paths"]["/recall"] = {
        "post": _operation(
            "Merge what channels find into the host's own list",
            "The answer is the base itself in control, and wherever nothing was recalled in time.",
            bodies["Recall"],
            ("200", "The list to serve.", bodies["Recalled"]),
        )
    }
    document["paths"]["/recall/ahead"] = {
        "post": _operation(
            "Begin to look while the host computes its base",
            "POST /recall with the same query_id joins it and takes what is ready.",
            bodies["Ahead"],
            ("202", "The search is under way.", bodies["Begun"]),
        )
    }
    return document


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's refusals, for FastAPI's `responses`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": "Refused, with the reason.", "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def _operation(
    title: str, text: str, body: dict[str, Any], answer: tuple[str, str, dict[str, Any]]
) -> dict[str, Any]:
    status, said, schema = answer
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses = {status: {"description": said, "content": {"application/json": {"schema": schema}}}}
    responses |= {code: {"description": why, "content": problem} for code, why in _REFUSALS.items()}
    return {
        "summary": title,
        "description": text,
        "tags": ["recall"],
        "parameters": [
            {
                "name": "X-Recall-Override",
                "in": "header",
                "description": "A tester's token: the variant of choice, never logged as exposed.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": responses,
    }
