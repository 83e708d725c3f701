"""The page at `/`: a query, two columns, the experiment and the index. Works without the internet.

Its paths are for the page alone and are no part of the OpenAPI document.
"""

import asyncio
from importlib import resources
from time import monotonic
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from recall_plugin.query import BASE, MAX_IMAGE_BYTES, Query, RecalledItem

from .bodies import read_body
from .images import Uploads
from .problems import Problem
from .route import query_of
from .standing import Service
from .window import Window
from .words import ChannelSaid, Question

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = ("console.css", "console.js", "console_cards.js", "icon.svg")
# Nothing from elsewhere, nothing inline; a picture can at worst be ugly.
_POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
_MAX_BODY_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 100_000


class _Compare(Question, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A question, and the variant to compare with; the first that adds something without."""

    variant: str | None = None


_read_compare = msgspec.json.Decoder(_Compare).decode


def add_console(app: FastAPI, service: Service, uploads: Uploads, window: Window) -> None:
    """The page and what it asks for."""
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    def file(name: str) -> Response:
        content = (resources.files("recall_plugin") / "web" / name).read_bytes()
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(content, media_type=kind, headers=headers | {"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return file("console.html")

    for name in _FILES:
        app.get(f"/{name}", include_in_schema=False)(lambda name=name: file(name))

    @app.get("/console/choices", include_in_schema=False)
    async def choices() -> dict[str, Any]:
        standing = service.now
        return {
            "window": window.state,
            "variants": list(standing.preview.variants),
            "experiment": standing.settings.experiment,
            "tries": window.tries(),
            **window.choices(),
        }

    @app.get("/console/pictures/{product_id:path}", include_in_schema=False)
    async def picture(product_id: str) -> Response:
        content, kind = await asyncio.to_thread(window.picture, product_id)
        return Response(content, media_type=kind, headers=headers | {"cache-control": "max-age=300"})

    @app.post("/console/compare", include_in_schema=False)
    async def compare(request: Request) -> Response:
        body = await read_body(request.scope, request.receive, at_most=_MAX_BODY_BYTES, what="the body")
        try:
            asked = _read_compare(body)
        except msgspec.MsgspecError as error:
            raise Problem(422, str(error)) from error
        query = await query_of(asked, uploads, service.now.web_rules)
        return Response(
            msgspec.json.encode(await _compared(service, window, query, asked.variant)),
            media_type="application/json",
        )


async def _compared(service: Service, window: Window, query: Query, variant: str | None) -> dict[str, Any]:
    with service.now.in_use() as standing:
        known = standing.preview.variants
        if variant is None and not known:
            raise Problem(409, "no variant of the experiment adds anything, so there is nothing to compare")
        if variant is not None and variant not in known:
            raise Problem(422, f"no variant {variant!r} adds anything; there are: {', '.join(known)}")
        started_s = monotonic()
        base = await asyncio.to_thread(window.search, query.text, limit=100, where=query.filters)
        base_ms = (monotonic() - started_s) * 1000
        shown = await standing.preview.show(query, base, variant=variant or known[0])
    page = base[: query.limit]
    return {
        "base": {"items": page, "took_ms": base_ms, "name": BASE},
        "with": {
            "variant": shown.variant,
            "items": [{"product_id": item.product_id, "ranks": dict(item.ranks)} for item in shown.items],
            "took_ms": shown.took_ms,
        },
        "channels": {
            name: ChannelSaid(
                answer.status,
                answer.took_ms,
                len(answer.hits),
                answer.index_version,
                answer.model_id,
                answer.reason,
            )
            for name, answer in shown.channels.items()
        },
        "cards": _cards(window, page, shown.items),
    }


def _cards(window: Window, page: list[str], items: tuple[RecalledItem, ...]) -> dict[str, Any]:
    """What is known of each product: from the catalogue, else from the index."""
    cards: dict[str, Any] = {
        item.product_id: {
            "title": item.hit.title,
            "category": item.hit.category,
            "brand": item.hit.brand,
            "price": item.hit.price,
            "currency": "",
            "in_stock": item.hit.in_stock,
            "has_picture": False,
        }
        for item in items
        if item.hit is not None
    }
    return cards | window.cards([*page, *(item.product_id for item in items)])
