"""POST /recall and POST /recall/ahead: bare ASGI, because a framework's layers cost more than the work.

Every answer is JSON; every refusal is a problem of one sentence. Whatever
fails in here is a 500 that says so: the host has its own base and serves it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from experiments.errors import InvalidOverride
from experiments.overrides import read_override
from product_index.picture_web import WebRules
from recall_plugin.errors import InvalidQuery
from recall_plugin.query import MAX_IMAGE_BYTES, Query

from .ahead import AheadTable
from .bodies import ClientGone, Message, Receive, Scope, Send, check_small, header, read_body
from .images import Uploads, checked, fetched
from .metrics import ServiceMetrics
from .problems import MEDIA_TYPE, Problem
from .standing import Service, Standing
from .words import Begun, Question, ahead_from, answer_of, recall_from, write

log = structlog.get_logger(__name__)

# An image in base64 takes a third more; beside it there is room for the base.
MAX_BODY_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 2_000_000

# What is neither a picture nor a base is a few lines.
MAX_SMALL_BODY_BYTES = 100_000
OVERRIDE = b"x-recall-override"
TAKES_PICTURES = ("/uploads", "/console/compare")

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", MEDIA_TYPE.encode())


class RecallRoute:
    """The two paths, in front of everything else.

    Args:
        rest: what answers every other path.
    """

    def __init__(self, service: Service, uploads: Uploads, metrics: ServiceMetrics, rest: App) -> None:
        self._service = service
        self._uploads = uploads
        self._metrics = metrics
        self._rest = rest
        self.ahead = AheadTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] not in ("/recall", "/recall/ahead"):
            await self._pass_on(scope, receive, send)
            return
        started_s = time.perf_counter()
        headers = [_JSON]
        try:
            status, body = await self._answer(scope, receive)
        except Problem as refusal:
            status, body = refusal.status, refusal.body()
            headers = [_PROBLEM, *((k.encode(), v.encode()) for k, v in refusal.headers.items())]
        except ClientGone:
            return
        except Exception as error:
            log.exception("request_failed", path=scope["path"])
            problem = Problem(
                500, f"the service failed ({type(error).__name__}); serve the base, see its log"
            )
            status, body, headers = 500, problem.body(), [_PROBLEM]
        await _send(send, status, body, headers)
        self._metrics.answered(status, time.perf_counter() - started_s)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in TAKES_PICTURES:
            try:
                check_small(scope, at_most=MAX_SMALL_BODY_BYTES)
            except Problem as refusal:
                headers = [_PROBLEM, *((k.encode(), v.encode()) for k, v in refusal.headers.items())]
                await _send(send, refusal.status, refusal.body(), headers)
                return
        await self._rest(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        if scope["method"] != "POST":
            raise Problem(
                405, f"{scope['method']} is not for {scope['path']}; POST to it", headers={"allow": "POST"}
            )
        if not header(scope, b"content-type").startswith("application/json"):
            raise Problem(
                415,
                f"content-type is {header(scope, b'content-type')[:80]!r}; send application/json",
            )
        body = await read_body(scope, receive, at_most=MAX_BODY_BYTES, what="the body")
        if scope["path"] == "/recall":
            return 200, await self._recall(body, header(scope, OVERRIDE))
        return 202, await self._begin(body, header(scope, OVERRIDE))

    async def _recall(self, body: bytes, override: str) -> bytes:
        asked = recall_from(body)
        begun = self.ahead.take(asked.query_id, unit_id=asked.unit_id, session_id=asked.session_id)
        if begun is not None:
            begun.base.set_result(asked.base)
            return answer_of(await begun.result)
        with self._service.now.in_use() as standing:
            wait_ms = standing.settings.wait_ms if asked.wait_ms is None else asked.wait_ms
            result = await standing.plugin.arecall(
                await self._query(asked),
                asked.base,
                unit_id=asked.unit_id,
                session_id=asked.session_id,
                query_id=asked.query_id,
                grace_ms=wait_ms,
                attributes=asked.attributes or {},
                override=_checked_override(override, asked.unit_id, standing),
            )
        return answer_of(result)

    async def _begin(self, body: bytes, override: str) -> bytes:
        asked = ahead_from(body)
        query = await self._query(asked)
        standing = self._service.now
        self.ahead.begin(
            standing,
            query,
            unit_id=asked.unit_id,
            session_id=asked.session_id,
            query_id=asked.query_id,
            attributes=asked.attributes or {},
            override=_checked_override(override, asked.unit_id, standing),
        )
        return write(Begun(asked.query_id))

    async def _query(self, asked: Question) -> Query:
        return await query_of(asked, self._uploads, self._service.now.web_rules)


async def query_of(asked: Question, uploads: Uploads, rules: WebRules | None) -> Query:
    """The question as channels know it; an image is checked, fetched or looked up.

    Raises:
        Problem: it breaks a rule.
    """
    named = [name for name in ("image", "image_id", "image_url") if getattr(asked, name) is not None]
    if len(named) > 1:
        raise Problem(422, f"{' and '.join(named)} are given, one image is searched by; give one of them")
    image = asked.image
    if asked.image_id is not None:
        image = uploads.get(asked.image_id)
    elif asked.image_url is not None:
        image = await asyncio.to_thread(fetched, asked.image_url, rules)
    elif image is not None:
        await asyncio.to_thread(checked, image)
    try:
        return Query(
            text=asked.text,
            image=image,
            similar_to=asked.similar_to,
            filters=None if asked.filters is None else asked.filters.filter(),
            limit=asked.limit,
        )
    except InvalidQuery as error:
        raise Problem(422, str(error)) from error


def _checked_override(token: str, unit_id: str, standing: Standing) -> str | None:
    """A tester's token, if it holds.

    Raises:
        Problem: it does not (403): the host serves its base, and the tester is told.
    """
    if not token:
        return None
    settings = standing.settings
    experiment, secret = standing.experiments[settings.experiment], settings.override_secret
    try:
        read_override(token, secret.get_secret_value(), experiment, unit_id=unit_id, now=datetime.now(UTC))
    except InvalidOverride as error:
        raise Problem(403, f"{OVERRIDE.decode()}: {error}") from error
    return token


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", b"%d" % len(body))],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
