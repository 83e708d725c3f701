"""What a shopper asks, what a channel is asked, and what it answers.

Records that check themselves once, at birth. They say nothing about how a
channel is reached: in this process or behind a socket, these are the words.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from experiments.exposure import QueryKind
from product_index.errors import InvalidProduct
from product_index.product import check_product_id
from product_index.vector_store import Filter, Hit

from .errors import InvalidQuery

# The encoder reads a few dozen tokens; longer text is an accident or an attack.
MAX_TEXT_CHARACTERS = 2_000
# A photo of a current phone has 2 to 12 MB.
MAX_IMAGE_BYTES = 20_000_000
MAX_LIMIT = 1_000
DEFAULT_LIMIT = 20

# The host's own funnel, as a channel among others.
BASE = "base"

Status = Literal["ok", "partial", "timeout", "open", "shed", "error", "off"]
# An answer with one of these is the channel's word; with any other it is missing.
ANSWERED: tuple[Status, ...] = ("ok", "partial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a shopper asks: text, an image, or both; or what is similar to a product.

    Attributes:
        text: as typed; blank means absent.
        image: an encoded image file (JPEG, PNG, ...).
        similar_to: a product's id, alone: what is like it, itself left out.
        filters: which products may be recalled; None means any. The base is
            the host's own and is not filtered again.
        limit: how many products the page shows.
        image_digest: the name of the image's bytes; empty without an image.

    >>> Query(text="striped red mug").kind
    'text'
    """

    text: str | None = None
    image: bytes | None = field(default=None, repr=False)
    similar_to: str | None = None
    filters: Filter | None = None
    limit: int = DEFAULT_LIMIT
    image_digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if self.text is not None:
            _check_text(self.text)
        if self.image is not None:
            _check_image(self.image)
        if self.similar_to is not None:
            _check_similar_to(self)
        elif not self.has_text and self.image is None:
            raise InvalidQuery("the query has neither text nor image; give at least one")
        if (
            isinstance(self.limit, bool)
            or not isinstance(self.limit, int)
            or not 1 <= self.limit <= MAX_LIMIT
        ):
            raise InvalidQuery(f"limit is {self.limit!r}, must be a whole number in [1, {MAX_LIMIT}]")
        if self.image is not None:
            digest = hashlib.blake2b(self.image, digest_size=16).hexdigest()
            object.__setattr__(self, "image_digest", digest)

    @property
    def has_text(self) -> bool:
        """Whether there is more than white space."""
        return bool(self.text and self.text.strip())

    @property
    def kind(self) -> QueryKind:
        """Which sides are there; a product that is asked about brings both of its own."""
        if self.similar_to is not None:
            return "both"
        if self.image is None:
            return "text"
        return "both" if self.has_text else "image"

    @property
    def for_the_log(self) -> str:
        """The text, or the name of the image or product where there is no text."""
        if self.similar_to is not None:
            return f"product:{self.similar_to}"
        return (self.text or "").strip() or f"image:{self.image_digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRequest:
    """What a channel is asked.

    Attributes:
        limit: how many products are of use.
        deadline_s: on the monotonic clock; an answer after it is of no use.
        request_id: the query id of the log.
        unit_id: who is randomised, for channels that know people.
    """

    query: Query
    limit: int
    deadline_s: float
    request_id: str
    unit_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAnswer:
    """What a channel answers.

    Attributes:
        hits: best first; the place is the rank. Their fields must be true to
            the request's filters, which are checked again on every hit.
        index_version: which state of the index was asked.
        model_id: which vector space.
        took_ms: filled in by whoever asked.
        reason: for people, where the status is not ok.
    """

    status: Status
    hits: tuple[Hit, ...] = ()
    index_version: str = ""
    model_id: str = ""
    took_ms: float = 0.0
    reason: str = ""

    @property
    def answered(self) -> bool:
        """Whether this is the channel's word, even if it found nothing."""
        return self.status in ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledItem:
    """A product in the answer, and where it came from.

    Attributes:
        ranks: the rank, from 1, that each channel gave it; `base` is the host.
        hit: its fields where a channel found it and the base did not.
    """

    product_id: str
    ranks: Mapping[str, int]
    hit: Hit | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Which channels found it."""
        return tuple(self.ranks)


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise InvalidQuery(f"text is a {type(text).__name__}, must be a string")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidQuery(
            f"text has {len(text)} characters, at most {MAX_TEXT_CHARACTERS} are read; shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidQuery(
            f"text has a lone surrogate at {error.start}, must be valid Unicode; "
            "decode it with errors='replace'"
        ) from error


def _check_similar_to(query: Query) -> None:
    try:
        check_product_id(query.similar_to)  # type: ignore[arg-type]  # whatever it is, the rule decides
    except InvalidProduct as error:
        raise InvalidQuery(f"similar_to: {error}") from error
    if query.has_text or query.image is not None:
        raise InvalidQuery(
            f"similar_to is {query.similar_to!r}, so text and image must be absent; ask for one or the other"
        )


def _check_image(image: bytes) -> None:
    if not isinstance(image, bytes):
        raise InvalidQuery(f"image is a {type(image).__name__}, must be the bytes of an image file")
    if not image:
        raise InvalidQuery("image has 0 bytes; give the file's content, or None for no image")
    if len(image) > MAX_IMAGE_BYTES:
        raise InvalidQuery(f"image has {len(image)} bytes, at most {MAX_IMAGE_BYTES} are read; scale it down")
