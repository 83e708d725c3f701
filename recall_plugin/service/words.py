"""What POST /recall is asked and what it answers, in JSON; and the same as a schema.

msgspec reads, checks and writes: the whole of it takes less time than one
validated response of a web framework, and the schema is made from these
classes, so it cannot say anything else.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from product_index.vector_store import Filter
from recall_plugin.plugin import RecallResult
from recall_plugin.query import BASE, DEFAULT_LIMIT, MAX_IMAGE_BYTES, MAX_LIMIT, MAX_TEXT_CHARACTERS

from .problems import Problem

MAX_BASE = 10_000
MAX_WAIT_MS = 10_000
_MAX_ID = 1_000

Id = Annotated[str, Meta(min_length=1, max_length=_MAX_ID)]
Label = Annotated[str, Meta(max_length=_MAX_ID)]
Price = Annotated[float, Meta(ge=0)]


Attributes = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Label | float | bool],
    Meta(max_length=50, description="What targeting may ask about: region, platform, ..."),
]


class Filters(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which products may be recalled; what is absent allows any. The base is not filtered again."""

    category: Label | None = None
    brand: Label | None = None
    price_min: Price | None = None
    price_max: Price | None = None
    in_stock: bool | None = None

    def filter(self) -> Filter:
        """As the channels know it."""
        return Filter(
            category=self.category,
            brand=self.brand,
            price_min=self.price_min,
            price_max=self.price_max,
            in_stock=self.in_stock,
        )


class Question(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is looked for: text, one image, both; or what is similar to a product."""

    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)] | None = None
    image: (
        Annotated[bytes, Meta(max_length=MAX_IMAGE_BYTES, description="An image file, in base64.")] | None
    ) = None
    image_id: Annotated[Id, Meta(description="What POST /uploads answered.")] | None = None
    image_url: Annotated[str, Meta(min_length=1, max_length=2_000)] | None = None
    similar_to: Annotated[Id, Meta(description="A product's id, without text and image.")] | None = None
    filters: Filters | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="The page's length.")] = DEFAULT_LIMIT


class Ahead(Question, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """POST /recall/ahead: the question, before the base is there."""

    unit_id: Annotated[Id, Meta(description="Who is randomised.")]
    session_id: Annotated[Id, Meta(description="The visit.")]
    query_id: Annotated[Id, Meta(description="The host's name for this search; POST /recall repeats it.")]
    attributes: Attributes | None = None


class Recall(Question, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """POST /recall: the question and the base; after /recall/ahead, the base and the query's id."""

    base: Annotated[
        list[Annotated[str, Meta(max_length=_MAX_ID)]],
        Meta(max_length=MAX_BASE, description="The host's own product ids, best first."),
    ]
    unit_id: Id
    session_id: Id
    query_id: Id | None = None
    attributes: Attributes | None = None
    wait_ms: (
        Annotated[
            float,
            Meta(ge=0, le=MAX_WAIT_MS, description="How long to wait for channels; RECALL_WAIT_MS without."),
        ]
        | None
    ) = None


class Item(msgspec.Struct, frozen=True):
    """A product, and the rank that each channel gave it; `base` is the host's own list."""

    product_id: str
    ranks: dict[str, int]


class ChannelSaid(msgspec.Struct, frozen=True):
    """What became of a channel's question."""

    status: str
    took_ms: float
    found: int
    index_version: str = ""
    model_id: str = ""
    reason: str = ""


class Recalled(msgspec.Struct, frozen=True):
    """The answer: in control, and wherever nothing was recalled, the base as it came."""

    query_id: str
    variant: str
    reason: str
    items: list[Item]
    degraded: bool
    triggered: bool | None
    channels: dict[str, ChannelSaid]
    latency_ms: float


class Begun(msgspec.Struct, frozen=True):
    """The search for what may be recalled is under way."""

    query_id: str


_read_recall = msgspec.json.Decoder(Recall).decode
_read_ahead = msgspec.json.Decoder(Ahead).decode
write = msgspec.json.Encoder().encode
# The ranks of a product that only the base knows, by rank: made once.
_BASE_RANKS = [{BASE: rank} for rank in range(1, MAX_BASE + 1)]


def recall_from(body: bytes) -> Recall:
    """Read POST /recall.

    Raises:
        Problem: not JSON (400), or against a rule (422).
    """
    try:
        return _read_recall(body)
    except msgspec.MsgspecError as error:
        raise _refusal(error) from error


def ahead_from(body: bytes) -> Ahead:
    """Read POST /recall/ahead.

    Raises:
        Problem: not JSON (400), or against a rule (422).
    """
    try:
        return _read_ahead(body)
    except msgspec.MsgspecError as error:
        raise _refusal(error) from error


def answer_of(result: RecallResult) -> bytes:
    """The answer as JSON."""
    if result.blended is None:
        items = list(map(Item, result.product_ids, _BASE_RANKS))
    else:
        items = [Item(item.product_id, dict(item.ranks)) for item in result.blended]
    channels = {
        name: ChannelSaid(
            answer.status,
            round(answer.took_ms, 3),
            len(answer.hits),
            answer.index_version,
            answer.model_id,
            answer.reason,
        )
        for name, answer in result.channels.items()
    }
    return write(
        Recalled(
            result.query_id,
            result.variant,
            result.reason,
            items,
            result.degraded,
            result.triggered,
            channels,
            round(result.latency_ms, 3),
        )
    )


def schemas(ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What describes the request and response bodies: references by class name, and components."""
    types = (Recall, Ahead, Recalled, Begun)
    found, components = msgspec.json.schema_components(types, ref_template=ref_template)
    return {kind.__name__: schema for kind, schema in zip(types, found, strict=True)}, components


def _refusal(error: msgspec.MsgspecError) -> Problem:
    if isinstance(error, msgspec.ValidationError):
        return Problem(422, f"{error}; see /openapi.json for what is read")
    return Problem(400, f"the body is not JSON: {error}; send one JSON object in UTF-8")
