"""A host of pictures on loopback, well-behaved and otherwise."""

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PICTURE = b"\xff\xd8\xff\xe0 a picture of a mug, as far as its beginning tells"
BIG = 50 * 1024 * 1024


class PictureHost(ThreadingHTTPServer):
    """What was asked for is counted by path; `sent` counts bytes of large bodies.

    Attributes:
        pictures: more of them, by path.
        down: everything is answered with 503.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.asked: Counter[str] = Counter()
        self.pictures: dict[str, bytes] = {}
        self.sent = 0
        self.down = False
        self.closing = threading.Event()

    @property
    def name(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://{self.name}/{path}"


@contextmanager
def picture_host(certificate: Path | None = None) -> Iterator[PictureHost]:
    """Serve until the end of the block; over TLS with a certificate (and its key in the same file)."""
    host = PictureHost(certificate)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.closing.set()
        host.shutdown()
        host.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: PictureHost

    def do_GET(self) -> None:
        path = self.path.strip("/").partition("?")[0]
        self.server.asked[path] += 1
        act = getattr(self, "_" + path.partition(".")[0].replace("-", "_"), None)
        with suppress(OSError):  # the other side has gone
            if self.server.down:
                self._answer(503, b"")
            elif path in self.server.pictures:
                self._answer(200, self.server.pictures[path])
            elif act is None:
                self._answer(404, b"")
            else:
                act()

    def handle(self) -> None:
        with suppress(ssl.SSLError, ConnectionError):  # the other side does not trust us
            super().handle()

    def log_message(self, *_said: object) -> None:
        pass

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _moved(self, to: str) -> None:
        self._answer(302, b"", Location=to)

    def _mug(self) -> None:
        if self.headers.get("If-None-Match") == '"mug"':
            self._answer(304, b"")
        else:
            self._answer(200, PICTURE, ETag='"mug"')

    def _hang(self) -> None:
        self.server.closing.wait()

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PICTURE)
        while not self.server.closing.wait(0.02):
            self.wfile.write(b".")

    def _drip_headers(self) -> None:
        while not self.server.closing.wait(0.02):
            self.wfile.write(b"H")

    def _loop(self) -> None:
        self._moved("/loop")

    def _hop5(self) -> None:
        self._moved("/hop4")

    def _hop4(self) -> None:
        self._moved("hop3")

    def _hop3(self) -> None:
        self._moved(self.server.url("hop2"))

    def _hop2(self) -> None:
        self._moved("/hop1")

    def _hop1(self) -> None:
        self._moved("/mug.jpg")

    def _to_private(self) -> None:
        self._moved("http://10.11.12.13/secret")

    def _to_metadata(self) -> None:
        self._moved("http://169.254.169.254/latest/meta-data/")

    def _to_file(self) -> None:
        self._moved("file:///etc/passwd")

    def _to_localhost(self) -> None:
        self._moved(self.server.url("mug.jpg").replace("127.0.0.1", "localhost"))

    def _big(self) -> None:
        self._large({"Content-Length": str(BIG)})

    def _endless(self) -> None:
        self._large({})

    def _large(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        block = PICTURE.ljust(65536, b"\0")
        while self.server.sent < BIG:
            self.wfile.write(block)
            self.server.sent += len(block)

    def _page(self) -> None:
        self._answer(200, b"<html>Our shop has moved</html>", Content_Type="text/html; charset=utf-8")

    def _empty(self) -> None:
        self._answer(200, b"")

    def _forbidden(self) -> None:
        self._answer(403, b"")

    def _broken(self) -> None:
        self._answer(500, b"")

    def _busy(self) -> None:
        self._answer(429, b"")

    def _short(self) -> None:
        self._answer(200, PICTURE, Content_Length="1000")
        self.close_connection = True

    def _flaky(self) -> None:
        self._answer(503, b"") if self.server.asked["flaky.jpg"] < 3 else self._answer(200, PICTURE)
