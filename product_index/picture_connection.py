"""One HTTP request to addresses that were judged, all of it before one deadline.

Every wait for the socket ends at the same moment, so that a host that drips
ends with it.
"""

import functools
import io
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from .picture_hosts import Target
from .waiting import left_of

# So much is read at once.
CHUNK_BYTES = 64 * 1024
_HEADERS = {
    "User-Agent": "uniecs-online (product pictures for a search index)",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class Connection(HTTPConnection):
    """One request to the addresses that were judged, and to no others; all before the deadline."""

    def __init__(self, target: Target, addresses: list[Any], deadline: float) -> None:
        self.default_port = target.default_port
        super().__init__(target.host, target.port)
        self._target = target
        self._addresses = addresses
        self._deadline = deadline

    def get(self, more: Mapping[str, str]) -> HTTPResponse:
        """Ask, with some more headers; return when those of the answer are there."""
        self.request("GET", self._target.path, headers={**_HEADERS, **more})
        return self.getresponse()

    def connect(self) -> None:
        """Connect to the first address that answers."""
        failed: OSError = TimeoutError("it has no address")
        for family, kind, protocol, _, address in self._addresses:
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(left_of(self._deadline))
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
        plain.settimeout(left_of(self._deadline))
        return _tls().wrap_socket(plain, server_hostname=self._target.host)


class _Dripping:
    """A socket for one request whose every wait ends at the same moment."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def sendall(self, data: Any) -> None:
        self._inner.settimeout(left_of(self._deadline))
        self._inner.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._inner, self._deadline), CHUNK_BYTES)

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
        self._inner.settimeout(left_of(self._deadline))
        return self._raw.readinto(buffer) or 0

    def close(self) -> None:
        self._raw.close()
        super().close()


@functools.cache  # reading the system's certificates takes longer than many a picture
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
