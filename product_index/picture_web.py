"""One picture over HTTP, once: by whom it may be asked for, how long, how large.

The address is resolved here, judged, and then connected to as it is: a name
that answers differently a moment later leads nowhere else. Every redirect is
judged anew. One deadline holds for names, connections, headers and body
together, so that a host that drips ends with it. fsspec's HTTP can do neither;
proxies of the environment are not used, for behind one nothing can be judged.
"""

import functools
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .errors import HostAway, PictureMissing, PictureUnavailable
from .pictures import MAX_PICTURE_BYTES, too_large

# A shop's pictures move once, to a CDN; more hops are a loop.
MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024
_MOVED = frozenset({301, 302, 303, 307, 308})
# Not now, says the host; about whatever picture.
_BUSY = frozenset({408, 425, 429, 502, 503, 504})
# What the first bytes of a picture are; the encoder judges the rest.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_AGENT = "uniecs-online (product pictures for a search index)"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A picture, and by what to ask whether it is still the same."""

    picture: bytes
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRules:
    """Whom to ask.

    Attributes:
        inside: hosts, or host:port, that may have private addresses: the shop's own.
        only_inside: ask nobody else.
        timeout_s: for everything about one picture.
    """

    inside: frozenset[str] = frozenset()
    only_inside: bool = False
    timeout_s: float = 10.0


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
        target = _Target.of(at, rules)
        with _asking(target):
            connection = _Connection(target, target.addresses(deadline), deadline)
            with closing(connection), closing(connection.get(known)) as response:
                if response.status not in _MOVED or not response.headers.get("Location"):
                    return _read(response, target, known)
                at = urljoin(at, str(response.headers["Location"]))
    raise PictureMissing(
        f"picture {shown(url)} is redirected more than {MAX_REDIRECTS} times; name where it really is"
    )


def host_of(url: str) -> str:
    """The host, with its port where one is named."""
    return urlsplit(url).netloc.rpartition("@")[2].casefold()


def shown(url: str) -> str:
    """The address without what may be secret: user, password, query."""
    parts = urlsplit(url)
    return f"'{parts.scheme}://{host_of(url)}{parts.path[:200]}{'?...' if parts.query else ''}'"


def within(timeout_s: float, act: Callable[[], Answer]) -> Answer:
    """Act, and wait so long at most; what hangs goes on in a thread that nobody waits for.

    Raises:
        TimeoutError: it took longer.
    """
    answers: SimpleQueue[tuple[Answer | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((act(), None))
        except BaseException as error:  # handed to who waits
            answers.put((None, error))

    Thread(target=work, name="picture", daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(0.0, timeout_s))
    except Empty:
        raise TimeoutError(f"no answer within {timeout_s:.1f} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only where act returns it


def is_public(address: str) -> bool:
    """Whether the address is one of the open internet, and hides no other."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        carried = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 carries an IPv4 address, too
            carried.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        inner = [one for one in carried if one is not None]
        if inner:
            return all(is_public(str(one)) for one in inner)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """One address that may be asked, if its host's addresses are what they should be."""

    url: str
    parts: SplitResult
    host: str
    port: int
    inside: bool

    @classmethod
    def of(cls, url: str, rules: WebRules) -> "_Target":
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode("ascii")
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except (ValueError, UnicodeError) as error:
            raise PictureMissing(
                f"picture address {url[:200]!r} cannot be read: {error}; correct it"
            ) from error
        if parts.scheme not in {"http", "https"} or not host:
            raise PictureMissing(
                f"picture {shown(url)} is, or leads to, no http or https address; correct it"
            )
        if parts.username or parts.password:
            raise PictureMissing(f"picture {shown(url)} carries a user name; give an address without")
        inside = bool({host, f"{host}:{port}"} & rules.inside)
        if rules.only_inside and not inside:
            raise PictureMissing(
                f"picture {shown(url)}: host {host!r} is not listed; add it to PICTURE_HOSTS, "
                "or set PICTURE_WEB=public"
            )
        return cls(url=url, parts=parts, host=host, port=port, inside=inside)

    def addresses(self, deadline: float) -> list[Any]:
        """What to connect to; all of it judged."""
        left_s = deadline - time.monotonic()
        found = within(left_s, lambda: socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
        hidden = next((str(one[4][0]) for one in found if not is_public(str(one[4][0]))), None)
        if hidden is not None and not self.inside:
            raise PictureMissing(
                f"picture {shown(self.url)}: {self.host!r} has the private address {hidden}, which is not "
                "asked; if it is the shop's own host, add it to PICTURE_HOSTS"
            )
        return found

    @property
    def default_port(self) -> int:
        return 443 if self.parts.scheme == "https" else 80

    @property
    def path(self) -> str:
        path = quote(self.parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(self.parts.query, safe="/%:@!$&'()*+,;=~?")
        return f"{path}?{query}" if query else path


class _Connection(HTTPConnection):
    """One request to the addresses that were judged, and to no others; all before the deadline."""

    def __init__(self, target: _Target, addresses: list[Any], deadline: float) -> None:
        self.default_port = target.default_port
        super().__init__(target.host, target.port)
        self._target = target
        self._addresses = addresses
        self._deadline = deadline

    def get(self, known: Fetched | None) -> HTTPResponse:
        """Ask; return when the headers are there."""
        headers = {"User-Agent": _AGENT, "Accept": "image/*", "Accept-Encoding": "identity",
                   "Connection": "close"}  # fmt: skip
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        elif known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        self.request("GET", self._target.path, headers=headers)
        return self.getresponse()

    def connect(self) -> None:
        """Connect to the first address that answers."""
        failed: OSError = TimeoutError("it has no address")
        for family, kind, protocol, _, address in self._addresses:
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(_left_s(self._deadline))
                plain.connect(address)
                self.sock = _Dripping(self._secured(plain), self._deadline)
            except OSError as error:
                plain.close()
                failed = error
                continue
            return
        raise failed

    def _secured(self, plain: socket.socket) -> socket.socket:
        if self._target.parts.scheme == "http":
            return plain
        plain.settimeout(_left_s(self._deadline))
        return _tls().wrap_socket(plain, server_hostname=self._target.host)


class _Dripping:
    """A socket for one request whose every wait ends at the same moment."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def sendall(self, data: Any) -> None:
        self._inner.settimeout(_left_s(self._deadline))
        self._inner.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._inner, self._deadline), _CHUNK_BYTES)

    def close(self) -> None:
        self._inner.close()


class _Incoming(io.RawIOBase):
    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self._inner = inner
        self._raw = inner.makefile("rb", buffering=0)  # keeps the socket open after its close()
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._inner.settimeout(_left_s(self._deadline))
        return self._raw.readinto(buffer) or 0

    def close(self) -> None:
        self._raw.close()
        super().close()


@contextmanager
def _asking(target: _Target) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
        raise HostAway(
            f"picture {shown(target.url)}: host {target.host!r} does not answer ({why})"
        ) from error


def _read(response: HTTPResponse, target: _Target, known: Fetched | None) -> Fetched:
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
        while chunk := response.read1(_CHUNK_BYTES):
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


@functools.cache  # reading the system's certificates takes longer than many a picture
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s
