"""Pictures that shoppers give: checked before anything else touches them, kept for a while, bounded.

Nothing that a browser does not show as a photo is taken: no SVG, no archive,
nothing that unfolds to more pixels than a large camera makes. A picture that
is known by its address is fetched by `product_index.picture_web`, which asks
no private address, and whatever comes is checked the same way.
"""

import hashlib
import io
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import msgspec
from PIL import Image

from product_index.errors import PictureMissing, Retryable
from product_index.picture_web import WebRules, fetch
from product_index.settings import Settings as IndexSettings
from recall_plugin.query import MAX_IMAGE_BYTES

from .problems import Problem

# As the encoder's own rule: a large camera picture, not a bomb.
MAX_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# How long a shopper may think between giving a picture and asking with it.
KEEP_S = 1_800.0
KEEP_BYTES = 256 * 2**20
FETCH_WITHIN_S = 5.0


class Uploaded(msgspec.Struct, frozen=True):
    """A picture that is known now."""

    image_id: str
    width: int
    height: int
    format: str


def checked(image: bytes) -> Uploaded:
    """What the picture is.

    Raises:
        Problem: it is none that is taken (422), or too large (413).
    """
    if len(image) > MAX_IMAGE_BYTES:
        raise Problem(
            413, f"the image has {len(image)} bytes, at most {MAX_IMAGE_BYTES} are read; scale it down"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: our rule is stricter
            with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
                width, height = opened.size
                _check_pixels(width, height)
                opened.draft("RGB", (64, 64))
                opened.load()
                return Uploaded(_name(image), width, height, opened.format or "")
    except Problem:
        raise
    except Image.DecompressionBombError as error:
        raise Problem(422, f"{error}; at most {MAX_PIXELS} pixels are read, scale it down") from error
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise Problem(
            422,
            f"the image of {len(image)} bytes is no whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file; "
            "give one of these",
        ) from error


def rules_for_shoppers(index: IndexSettings) -> WebRules | None:
    """Where a shopper's address may lead: to the open internet, to listed hosts alone, or nowhere (None).

    The shop's own hosts behind private addresses are for its catalogue: a shopper's address reaches
    them only where nothing else may be asked anyway.
    """
    if index.picture_web == "off":
        return None
    if index.picture_web == "public":
        return WebRules(timeout_s=FETCH_WITHIN_S)
    hosts = frozenset(host.strip() for host in index.picture_hosts.casefold().split(",") if host.strip())
    return WebRules(inside=hosts, only_inside=True, timeout_s=FETCH_WITHIN_S)


def fetched(url: str, rules: WebRules | None) -> bytes:
    """The picture under an address, checked. Blocks.

    Raises:
        Problem: there is none, or it may not be asked for (422), or nothing answers (502).
    """
    if rules is None:
        raise Problem(422, "image_url: PICTURE_WEB is off here; upload the image")
    try:
        image = fetch(rules, url).picture
    except PictureMissing as error:
        raise Problem(422, f"image_url: {error}") from error
    except Retryable as error:
        raise Problem(502, f"image_url: {error}; try again, or upload the image") from error
    checked(image)
    return image


class Uploads:
    """Pictures by their digest, the least recently used forgotten first."""

    def __init__(
        self,
        *,
        keep_s: float = KEEP_S,
        keep_bytes: int = KEEP_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._bytes

    def put(self, image: bytes) -> None:
        """Keep it under its digest."""
        name = _name(image)
        with self._lock:
            self._drop(name)
            self._kept[name] = (self._clock() + self._keep_s, image)
            self._bytes += len(image)
            while self._bytes > self._keep_bytes and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def get(self, name: str) -> bytes:
        """The picture.

        Raises:
            Problem: it is not known, or not any more (404).
        """
        with self._lock:
            until_s, image = self._kept.get(name, (float("-inf"), b""))
            if until_s >= self._clock():
                self._kept.move_to_end(name)
                return image
            self._drop(name)
        raise Problem(404, f"image_id {name[:64]!r} is not known, or not any more; upload the image again")

    def _drop(self, name: str) -> None:
        if name in self._kept:
            self._bytes -= len(self._kept.pop(name)[1])


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Problem(
            422,
            f"the image is {width} x {height} pixels, at most {MAX_PIXELS} in all are read; scale it down",
        )


def _name(image: bytes) -> str:
    return hashlib.blake2b(image, digest_size=16).hexdigest()
