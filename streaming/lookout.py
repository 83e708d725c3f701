"""Beside a consumer: asks how far the group is behind, and answers /metrics and /healthz on loopback."""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog

from .change_log import Partition
from .errors import InvalidSettings, StreamingError
from .lag import PartitionLag
from .metrics import ConsumerMetrics
from .stalls import StallWatch

log = structlog.get_logger()

LOOPBACK = "127.0.0.1"
ASK_EVERY_S = 5.0
# A question to a broker that is away is not waited for at the end.
JOIN_S = 2.0


class Lookout:
    """Keeps the lag and the stalls of one consumer.

    Args:
        ask: the group's lag, from a reader of its own.
        ours: the partitions that this consumer has now.
        stall_after_s: a partition that has work and does not move for so long is stalled.
        silent_s: for how long the group has not heard from this consumer; one that is silent for
            so long, too, has nothing and takes nothing.
    """

    def __init__(
        self,
        metrics: ConsumerMetrics,
        ask: Callable[[], Sequence[PartitionLag]],
        ours: Callable[[], Collection[Partition]],
        *,
        stall_after_s: float,
        silent_s: Callable[[], float] = lambda: 0.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._ask = ask
        self._ours = ours
        self._stall_after_s = stall_after_s
        self._silent_s = silent_s
        self._steady_s = steady_s
        self._watch = StallWatch()
        self._reachable = True

    def look(self) -> None:
        """Take one reading."""
        try:
            lags = self._ask()
        except StreamingError as error:
            if self._reachable:
                log.warning("lag_unknown", reason=str(error))
            self._reachable = False
            self._metrics.unreachable()
            return
        self._reachable = True
        now_s = self._steady_s()
        self._watch.observe(lags, set(self._ours()), now_s=now_s)
        stalled = self._watch.stalled(after_s=self._stall_after_s, now_s=now_s)
        self._metrics.lagged(lags, stalled=len(stalled))

    def health(self) -> tuple[bool, dict[str, object]]:
        """Whether no partition of ours is stalled, and what to tell.

        A broker that does not answer is no stall: starting this consumer again would not mend it.
        """
        if not self._reachable:
            return True, {"status": "the broker does not answer; stalls are not judged"}
        stalls = self._watch.stalled(after_s=self._stall_after_s, now_s=self._steady_s())
        told = [
            f"{one.partition.topic}/{one.partition.index}: {one.behind} messages wait, "
            f"none acknowledged for {one.for_s:.0f} s"
            for one in stalls
        ]
        if (silent_s := self._silent_s()) >= self._stall_after_s:
            told.append(f"the group has not heard from this consumer for {silent_s:.0f} s")
        return not told, {"status": "stalled" if told else "ok", "stalled": told}


@contextmanager
def serving(metrics: ConsumerMetrics, lookout: Lookout, *, port: int) -> Iterator[int]:
    """Answer on loopback and look every few seconds; yields the port, ends with the block.

    Raises:
        InvalidSettings: the port is taken.
    """
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), _handler(metrics, lookout))
    except OSError as error:
        raise InvalidSettings(
            f"--metrics-port {port}: {error.strerror}; choose another, or 0 for any"
        ) from error
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lookout.look()
            done.wait(ASK_EVERY_S)

    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics"),
        threading.Thread(target=look, name="lookout", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield server.server_address[1]
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(timeout=JOIN_S)


def _handler(metrics: ConsumerMetrics, lookout: Lookout) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                healthy, told = lookout.health()
                self._answer(200 if healthy else 503, json.dumps(told).encode(), "application/json")
            else:
                self._answer(404, b"/metrics or /healthz\n", "text/plain")

        def log_message(self, format: str, *args: object) -> None:
            """A probe every few seconds is no news."""

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Answers
