"""Requests per second and core of POST /recall, beside a FastAPI route with a response model.

    python -m benchmarks.service                  # 5 rounds of 4 seconds each
    python -m benchmarks.service --rounds 3 --seconds 2

Both servers are uvicorn with uvloop and httptools on one core, both run the
same plugin on the same body (200 products of the base, 200 items out), and both
answer the same JSON. The flag is off, so that what is compared is the way in
and out; `--treated` has an instant channel answer 200 products beside it, and
then both pay for the merge. The client sits on another core, keeps 16
connections busy and reads every answer. Rounds alternate.
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

BASE = [f"product-{number:06}" for number in range(200)]
BODY = {"text": "striped red mug", "base": BASE, "limit": 200, "unit_id": "shopper-1", "session_id": "s-1"}
CONNECTIONS = 16
SERVERS = {
    "POST /recall": "benchmarks.service_recall",
    "FastAPI, response model": "benchmarks.service_fastapi",
}


def main(
    rounds: Annotated[int, typer.Option(help="Of each server, in turn.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of one round.")] = 4.0,
    treated: Annotated[bool, typer.Option(help="With an instant channel, and its merge.")] = False,
) -> None:
    """Start both, drive both, compare."""
    rates: dict[str, list[float]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        started = {name: start(module, Path(folder), treated=treated) for name, module in SERVERS.items()}
        try:
            first = {name: once(port) for name, (_, port) in started.items()}
            check_same(*first.values())
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            for _ in range(rounds):
                for name, (_, port) in started.items():
                    rates[name].append(asyncio_run(drive(port, seconds)))
        finally:
            for process, _ in started.values():
                process.send_signal(signal.SIGTERM)
                process.wait()
    size = len(json.dumps(first["POST /recall"]))
    print(f"{len(first['POST /recall']['items'])} items, {size:,} bytes out, {CONNECTIONS} connections")
    for name, per_s in rates.items():
        print(
            f"{name:26} {statistics.median(per_s):9,.0f} requests/s  ({min(per_s):,.0f} to {max(per_s):,.0f})"
        )
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    print(f"{'ratio':26} {statistics.median(ratios):9.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def start(module: str, folder: Path, *, treated: bool) -> "tuple[subprocess.Popen[bytes], int]":
    """A server on one core of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    switches = folder / "switches.toml"
    switches.write_text("" if treated else "[off]\nall = true\n")
    core = min(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(port), str(switches)],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - before anything runs there
    )
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return process, port
        time.sleep(0.05)
    raise SystemExit(f"{module} does not listen")


def once(port: int) -> dict[str, Any]:
    """One answer, read with care."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(request())
        got = b""
        while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < length_of(got):
            got += line.recv(1 << 16)
    found: dict[str, Any] = json.loads(got.partition(b"\r\n\r\n")[2])
    return found


def check_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The comparison is void unless both answer the same."""
    varies = {"query_id", "latency_ms", "channels"}
    if {key: ours[key] for key in ours if key not in varies} != {
        key: theirs[key] for key in theirs if key not in varies
    }:
        raise SystemExit(f"the servers answer differently: {str(ours)[:300]} and {str(theirs)[:300]}")


def request() -> bytes:
    """As any client would send it."""
    body = json.dumps(BODY).encode()
    head = (
        f"POST /recall HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def length_of(answer: bytes) -> int:
    """What the head announces."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])


class Asking(asyncio.Protocol):
    """One connection: the next request goes out when the answer is in."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.answered = 0
        self._got = b""
        self._need = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._line: Any = transport
        self._line.write(self.body)

    def data_received(self, data: bytes) -> None:
        """Count whole answers."""
        self._got += data
        if not self._need:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._got.startswith(b"HTTP/1.1 200"):
                raise SystemExit(self._got[:200])
            self._need = end + 4 + length_of(self._got[: end + 4])
        if len(self._got) >= self._need:
            self._got, self._need = self._got[self._need :], 0
            self.answered += 1
            self._line.write(self.body)


async def drive(port: int, seconds: float) -> float:
    """Requests per second, with every connection busy."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Asking(request()), "127.0.0.1", port) for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.3)
    before, began = sum(asking.answered for _, asking in made), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(asking.answered for _, asking in made) - before) / (time.perf_counter() - began)
    for line, _ in made:
        line.close()
    return rate


def asyncio_run(asked: Any) -> float:
    """On uvloop, so that the client is not what is measured."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate: float = runner.run(asked)
    return rate


if __name__ == "__main__":
    typer.run(main)
