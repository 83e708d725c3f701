"""Channels, logs and flag vendors that fail in a known way, for `do_no_harm`.

python -m benchmarks.faults SOCKET FAULT        # a sidecar with one of them
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import structlog

from experiments.assignment import Decision, assign
from experiments.definition import load_experiments
from experiments.events.event_ring import Delivery, EventRing, Line
from product_index.encoder import HashEncoder
from product_index.errors import StoreUnavailable
from product_index.vector_store import Hit
from recall_plugin.channels import Channel
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.query import ChannelAnswer, ChannelRequest
from recall_plugin.sidecar.giving_way import give_way
from recall_plugin.sidecar.running import run_sidecar

Answer = Callable[[ChannelRequest], Any]


class Acts:
    """A channel that does one thing."""

    name = "uniecs"

    def __init__(self, does: Answer) -> None:
        self._does = does

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """Whatever it does."""
        answer: ChannelAnswer = self._does(request)
        return answer

    def close(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A channel at fault.

    Attributes:
        starts: whether the sidecar is ready with it soon.
        must_hold: whether the bars can be kept at all.
    """

    channel: Callable[[], Channel]
    starts: bool = True
    must_hold: bool = True


def _hits(count: int = 20, **fields: Any) -> tuple[Hit, ...]:
    known: dict[str, Any] = {"score": 0.5, "version": 1}
    return tuple(Hit(**{"product_id": f"new-{number:03}"} | known | fields) for number in range(count))


def _says(hits: tuple[Any, ...] = _hits(), *, after_s: float = 0.003, **fields: Any) -> Channel:
    """An answer after the time a healthy channel takes."""

    def does(_: ChannelRequest) -> ChannelAnswer:
        time.sleep(after_s)
        return ChannelAnswer(
            **{"status": "ok", "hits": hits, "index_version": "v1", "model_id": "m"} | fields
        )

    return Acts(does)


def _raises(_: ChannelRequest) -> ChannelAnswer:
    raise RuntimeError("boom")


def _hangs(_: ChannelRequest) -> ChannelAnswer:
    time.sleep(3_600)
    return ChannelAnswer(status="ok")


def _burns(request: ChannelRequest) -> ChannelAnswer:
    """50 ms of Python on the processor: at 100 searches a second, more than two cores have."""
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    return ChannelAnswer(status="ok", hits=_hits())


def _starts_slowly() -> Channel:
    time.sleep(10)
    return _says()


def _without_milvus() -> Channel:
    def away() -> Any:
        raise StoreUnavailable("no Milvus answers at 127.0.0.1:9")

    return UniecsChannel(HashEncoder(8), away, alias="products")


_GARBAGE = tuple(
    Hit(product_id=product_id, score=0.5, version=1)
    for product_id in ("", "x" * 300, "a\x00b", 7, None, "\ud800")  # type: ignore[arg-type]
)

SIDECAR: Mapping[str, Fault] = {
    "healthy": Fault(channel=_says),
    "hangs": Fault(channel=lambda: Acts(_hangs)),
    "raises": Fault(channel=lambda: Acts(_raises)),
    "starts slowly": Fault(channel=_starts_slowly, starts=False),
    "50 ms of CPU": Fault(channel=lambda: Acts(_burns)),
    "garbage ids": Fault(channel=lambda: _says(_GARBAGE)),
    "NaN scores": Fault(channel=lambda: _says(_hits(score=float("nan")))),
    "duplicates": Fault(channel=lambda: _says(_hits(20, product_id="new"))),
    "ten times too many": Fault(channel=lambda: _says(_hits(200))),
    "wrong model version": Fault(channel=lambda: _says((), status="off", reason="another model's index")),
    "Milvus away": Fault(channel=_without_milvus),
    "answers None": Fault(channel=lambda: Acts(lambda _: None)),
    "slower than the base": Fault(channel=lambda: _says(after_s=0.05)),
}
IN_PROCESS: Mapping[str, Fault] = {
    "healthy": Fault(channel=_says),
    "hangs": Fault(channel=lambda: Acts(_hangs)),
    "raises": Fault(channel=lambda: Acts(_raises)),
    "50 ms of CPU": Fault(channel=lambda: Acts(_burns), must_hold=False),
}


class _FullDisk:
    """Takes nothing."""

    def write(self, lines: list[Line]) -> Delivery:
        """ENOSPC, from the real thing where there is one."""
        with Path("/dev/full").open("ab", buffering=0) as full:
            full.write(b"".join(line.value for line in lines))
        return Delivery()

    def close(self, *, timeout_s: float) -> None:
        """Nothing."""


def disk_full_log(stack: ExitStack) -> EventRing:
    """An event log whose disk is full; closed without waiting for space."""
    log = EventRing(_FullDisk(), name="full", capacity=200)  # type: ignore[arg-type]
    stack.callback(lambda: log.close(timeout_s=0.1))
    return log


def slow_vendor(*, after_s: float = 0.2) -> Callable[[str, Mapping[str, Any]], Decision]:
    """A flag vendor whose client waits for the network: 200 ms now and then, as one was measured."""
    experiment, luck = load_experiments()["uniecs-recall"], Random(7)

    def decide(unit_id: str, _: Mapping[str, Any]) -> Decision:
        if luck.random() < 0.5:
            time.sleep(after_s)
        return assign(experiment, unit_id, now=experiment.start)

    return decide


if __name__ == "__main__":
    give_way()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    run_sidecar(Path(sys.argv[1]), lambda _: SIDECAR[sys.argv[2]].channel(), ["uniecs"], in_flight=64)
