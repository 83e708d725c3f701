"""One picture over HTTP, once: by whom it may be asked for, how long, how large.

The address is resolved here, judged, and then connected to as it is: a name
that answers differently a moment later leads nowhere else. Every redirect is
judged anew. One deadline holds for names, connections, headers and body
together, so that a host that drips ends with it. fsspec's HTTP can do neither;
proxies of the environment are not used, for behind one nothing can be judged.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin

from .errors import HostAway, PictureMissing, PictureUnavailable
from .picture_connection import CHUNK_BYTES, Connection
from .picture_hosts import Target, WebRules, shown
from .pictures import MAX_PICTURE_BYTES, too_large

__all__ = ["Fetched", "WebRules", "fetch", "looks_like_a_picture"]

# A shop's pictures move once, to a CDN; more hops are a loop.
MAX_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
# Not now, says the host; about whatever picture.
_BUSY = frozenset({408, 425, 429, 502, 503, 504})
# What the first bytes of a picture are; the encoder judges the rest.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A picture, and by what to ask whether it is still the same."""

    picture: bytes
    etag: str = ""
    last_modified: str = ""


def fetch(rules: WebRules, url: str, *, known: Fetched | None = None) -> Fetched:
    """Return what is under the address, following redirects.

    Args:
        rules: whom to ask, and how long.
        url: http or https.
        known: what was there before; returned where the host says that it still is.

    Raises:
        PictureMissing: there is none, or it may not be asked for.
        HostAway: the host did not answer.
        PictureUnavailable: it answered, but not with the whole picture.
    """
    deadline = time.monotonic() + rules.timeout_s
    at = url
    for _ in range(MAX_REDIRECTS + 1):
        target = Target.of(at, rules)
        with _asking(target):
            connection = Connection(target, target.addresses(deadline), deadline)
            with closing(connection), closing(connection.get(_unless(known))) as response:
                if response.status not in _MOVED or not response.headers.get("Location"):
                    return _read(response, target, known)
                at = urljoin(at, str(response.headers["Location"]))
    raise PictureMissing(
        f"picture {shown(url)} is redirected more than {MAX_REDIRECTS} times; name where it really is"
    )


def _unless(known: Fetched | None) -> dict[str, str]:
    """Send it only where it is another: what was told of the picture that is known, the surest of it."""
    if known is not None and known.etag:
        return {"If-None-Match": known.etag}
    if known is not None and known.last_modified:
        return {"If-Modified-Since": known.last_modified}
    return {}


@contextmanager
def _asking(target: Target) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
        raise HostAway(
            f"picture {shown(target.url)}: host {target.host!r} does not answer ({why})"
        ) from error


def _read(response: HTTPResponse, target: Target, known: Fetched | None) -> Fetched:
    said, status = shown(target.url), response.status
    if status == 304 and known is not None:
        return known
    if status in _BUSY:
        raise HostAway(f"picture {said}: host {target.host!r} answers {status} {response.reason}")
    if status >= 500:
        raise PictureUnavailable(f"picture {said}: the host answers {status} {response.reason}")
    if status != 200:
        raise PictureMissing(
            f"picture {said}: the host answers {status} {response.reason}; correct the address"
        )
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_PICTURE_BYTES:
        raise PictureMissing(too_large(said, int(length)))
    picture = _body(response, said)
    return Fetched(
        picture=picture,
        etag=response.headers.get("ETag", ""),
        last_modified=response.headers.get("Last-Modified", ""),
    )


def _body(response: HTTPResponse, said: str) -> bytes:
    found = bytearray()
    try:
        while chunk := response.read1(CHUNK_BYTES):
            found += chunk
            if len(found) >= 16 and not looks_like_a_picture(bytes(found[:16])):
                break
            if len(found) > MAX_PICTURE_BYTES:
                raise PictureMissing(too_large(said, len(found)))
        cut_short = response.length
    except (OSError, HTTPException) as error:
        raise PictureUnavailable(f"picture {said} came to {len(found)} bytes, then: {error!r}") from error
    if not looks_like_a_picture(bytes(found[:16])):
        kind = response.headers.get_content_type()
        raise PictureMissing(
            f"picture {said} is no picture but {kind} ({bytes(found[:16])!r}); correct the address"
        )
    if cut_short:
        raise PictureUnavailable(f"picture {said} ended after {len(found)} bytes, {cut_short} early")
    return bytes(found)


def looks_like_a_picture(start: bytes) -> bool:
    """Whether a file that begins so may be a picture."""
    boxed = start[4:8] == b"ftyp" or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")  # AVIF, HEIC; WebP
    return boxed or start.startswith(_BEGINNINGS)
