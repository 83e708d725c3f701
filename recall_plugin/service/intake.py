"""The paths that take something in: a shopper's picture, what a shopper did."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import APIRouter, Request

from experiments.errors import InvalidEvent
from experiments.exposure import Outcome, event_id
from recall_plugin.query import MAX_IMAGE_BYTES, Query

from .bodies import read_body
from .control_words import OutcomeIn, UploadedImage
from .images import Uploads, checked
from .openapi import problems
from .problems import Problem
from .standing import Service


def intake_routes(service: Service, uploads: Uploads, embed_soon: Callable[[Query], None]) -> APIRouter:
    """Pictures and outcomes.

    Args:
        service: whose plugin logs outcomes.
        uploads: keeps the pictures.
        embed_soon: has a picture embedded beside the requests, before it is asked with.
    """
    routes = APIRouter()

    @routes.post(
        "/uploads",
        status_code=201,
        tags=["recall"],
        responses=problems(408, 413, 415, 422),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def upload(request: Request) -> UploadedImage:
        """Take a shopper's picture, and embed it before it is asked with. The body is the file itself."""
        body = await read_body(request.scope, request.receive, at_most=MAX_IMAGE_BYTES, what="the image")
        found = await asyncio.to_thread(checked, body)
        uploads.put(body)
        embed_soon(Query(image=body))
        return UploadedImage(
            image_id=found.image_id, width=found.width, height=found.height, format=found.format
        )

    @routes.post("/outcomes", status_code=202, tags=["recall"], responses=problems(400, 411, 413, 422))
    async def outcomes(happened: OutcomeIn) -> None:
        """Log what a unit did with what it was shown: a click, an add to cart, an order."""
        try:
            service.now.plugin.happened(_outcome(happened))
        except InvalidEvent as error:
            raise Problem(422, str(error)) from error

    return routes


def _outcome(happened: OutcomeIn) -> Outcome:
    name = happened.event_id or event_id(
        happened.kind, happened.unit_id, happened.query_id or "", happened.product_id
    )
    return Outcome(
        event_id=name,
        kind=happened.kind,
        unit_id=happened.unit_id,
        occurred_at=happened.occurred_at or datetime.now(UTC),
        product_id=happened.product_id,
        query_id=happened.query_id,
        position=happened.position,
        revenue=happened.revenue,
        currency=happened.currency,
    )
