"""Whom a picture may be asked of: an address is read, its host judged, and then all it resolves to.

What is returned is connected to as it is: a name that answers differently a
moment later leads nowhere else.
"""

import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from .errors import PictureMissing
from .waiting import within


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address that may be asked, if its host's addresses are what they should be."""

    url: str
    parts: SplitResult
    host: str
    port: int
    inside: bool

    @classmethod
    def of(cls, url: str, rules: WebRules) -> "Target":
        """Read an address.

        Raises:
            PictureMissing: it is none, or may not be asked.
        """
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
        """What to connect to; all of it judged.

        Raises:
            PictureMissing: some of it is private, and the host is not the shop's own.
            OSError: the name leads nowhere, or not in time.
        """
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
        """The port of its scheme."""
        return 443 if self.parts.scheme == "https" else 80

    @property
    def path(self) -> str:
        """What is asked for there, with its query."""
        path = quote(self.parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(self.parts.query, safe="/%:@!$&'()*+,;=~?")
        return f"{path}?{query}" if query else path


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


def host_of(url: str) -> str:
    """The host, with its port where one is named."""
    return urlsplit(url).netloc.rpartition("@")[2].casefold()


def shown(url: str) -> str:
    """The address without what may be secret: user, password, query."""
    parts = urlsplit(url)
    return f"'{parts.scheme}://{host_of(url)}{parts.path[:200]}{'?...' if parts.query else ''}'"
