"""Channels, logs and experiments that tests control by events, never by time."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

from experiments.assignment import assign
from experiments.definition import Experiment, Plan, load_experiments
from experiments.exposure import EventLog, Exposure, InMemoryEventLog, Outcome
from product_index.vector_store import Hit
from recall_plugin.channels import Channel
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.settings import Settings

# No test waits this long unless it fails.
PATIENCE_S = 120.0
# No program takes this long.
PROGRAM_S = 300
NOW = datetime(2026, 1, 15, tzinfo=UTC)
MUG = Query(text="striped red mug")


def hit(product_id: Any, **fields: Any) -> Hit:
    known: dict[str, Any] = {"product_id": product_id, "score": 0.5, "version": 1}
    return Hit(**known | fields)


def hits(*product_ids: str) -> tuple[Hit, ...]:
    return tuple(hit(product_id) for product_id in product_ids)


def wait_for(state: Callable[[], bool]) -> None:
    """Return when it holds; fail if it never does."""
    pause = Event()
    for _ in range(int(PATIENCE_S * 1000)):
        if state():
            return
        pause.wait(0.001)
    raise AssertionError("waited in vain")


class Says:
    """A channel that does what the test says."""

    def __init__(self, does: Callable[[ChannelRequest], Any], *, name: str = "uniecs") -> None:
        self.name = name
        self.does = does
        self.requests: list[ChannelRequest] = []

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        self.requests.append(request)
        answer: ChannelAnswer = self.does(request)
        return answer

    def close(self) -> None:
        pass


def finds(*product_ids: str, name: str = "uniecs", **fields: Any) -> Says:
    answer = ChannelAnswer(
        status="ok", hits=hits(*product_ids), index_version="products_v1", model_id="hash-1"
    )
    return Says(lambda _: replace(answer, **fields), name=name)


class Hangs(Says):
    """A channel that does not answer until it is let go."""

    def __init__(self, *product_ids: str, name: str = "uniecs") -> None:
        super().__init__(self._hang, name=name)
        self.asked = Event()
        self.let_go = Event()
        self._answer = ChannelAnswer(status="ok", hits=hits(*product_ids))

    def _hang(self, _: ChannelRequest) -> ChannelAnswer:
        self.asked.set()
        self.let_go.wait(PATIENCE_S)
        return self._answer


class BrokenLog:
    """A log whose disk is full."""

    dropped = 0

    def exposed(self, exposure: Exposure) -> None:
        raise OSError(f"no space left for {exposure.event_id}")

    def happened(self, outcome: Outcome) -> None:
        raise OSError(f"no space left for {outcome.event_id}")

    def close(self, *, timeout_s: float = 10.0) -> None:
        pass


def experiment(
    channels: Iterable[str] = ("uniecs",),
    *,
    merge: str = "append",
    parameters: Mapping[str, Any] | None = None,
) -> Experiment:
    """The packaged experiment with this plan in its treatment."""
    packaged = load_experiments()["uniecs-recall"]
    plan = Plan(channels=tuple(channels), merge=merge, parameters=parameters or {})
    control, treatment = packaged.variants
    return replace(packaged, variants=(control, replace(treatment, plan=plan)))


def unit_in(variant: str, *, number: int = 0) -> str:
    """The n-th shopper whom the packaged experiment gives this variant."""
    packaged = load_experiments()["uniecs-recall"]
    names = (f"shopper-{n}" for n in range(100_000))
    matching = (name for name in names if assign(packaged, name, now=NOW).variant == variant)
    return next(name for place, name in enumerate(matching) if place == number)


TREATED = unit_in("treatment")
UNTREATED = unit_in("control")


@contextmanager
def plugin(
    *channels: Channel,
    log: EventLog | None = None,
    of: Experiment | None = None,
    grace_ms: float = 10_000,
    **options: Any,
) -> Iterator[RecallPlugin]:
    """A plugin whose grace and budget outlast any channel that answers, closed at the end."""
    settings: dict[str, Any] = {"_env_file": None, "grace_ms": grace_ms, "budget_ms": 60_000}
    settings |= options.pop("settings", {})
    made = RecallPlugin(
        channels,
        of or experiment(),
        log or InMemoryEventLog(),
        settings=Settings(**settings),
        **options,
    )
    try:
        yield made
    finally:
        for channel in channels:
            if isinstance(channel, Hangs):
                channel.let_go.set()
        made.close()


def ask(of: RecallPlugin, base: Any, *, how: str = "recall", query: Query = MUG, **options: Any) -> Any:
    """By `recall` or by `arecall`: both keep the same promises."""
    words: dict[str, Any] = {"unit_id": TREATED, "session_id": "visit-1", "now": NOW} | options
    if how == "recall":
        return of.recall(query, base, **words)
    return asyncio.run(of.arecall(query, base, **words))
