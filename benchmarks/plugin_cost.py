"""What the plugin costs the thread that serves a shopper, in microseconds.

    python -m benchmarks.plugin_cost [--requests 3000] [--candidates 500]

The base and the channel are instant lists; the channel's own time, which runs
beside the base, is left out: counted is what stands before the base is asked
and after it has answered. A thread that sleeps while its base is fetched finds
the processor's caches cold when it wakes, and everything it does then takes
two or three times as long, whoever wrote it: so both are shown, a base whose
answer is parsed in this thread first (the bars), and one that just wakes. Rounds
of all cases alternate, so that a busy moment of the machine falls on each of
them.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.exposure import InMemoryEventLog
from product_index.vector_store import Hit
from recall_plugin.channels.in_memory import InMemoryChannel
from recall_plugin.cleaning import clean
from recall_plugin.merge import blend
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.rules import AppendQuota, ReciprocalRank, Rule, Snake, WeightedByRank
from recall_plugin.settings import Settings

NOW = datetime(2026, 1, 15, tzinfo=UTC)
ROUNDS = 10
BASE_S = 0.005
TEXT = "striped red mug"
RESPONSE = json.dumps(
    [{"product_id": f"product-{place:05}", "title": TEXT, "price": place / 7} for place in range(500)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that is timed, and the most its median and its 99th percentile may be."""

    name: str
    once: Callable[[], int]
    p50_us: float | None = None
    p99_us: float | None = None


class ForgetfulLog(InMemoryEventLog):
    """Takes events as the ring does, and keeps none."""

    def exposed(self, exposure: object) -> None:
        """Gone."""


def main(
    requests: Annotated[int, typer.Option(help="Calls of each case.")] = 3_000,
    candidates: Annotated[int, typer.Option(help="Products of the base, and of the channel.")] = 500,
) -> None:
    """Time each case and hold it against its bar."""
    base, hits = lists(candidates, shared=candidates // 5)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        cases = [*plugin_cases(stack, folder, base, hits), *merge_cases(base, candidates)]
        times: dict[str, list[int]] = {case.name: [] for case in cases}
        for _ in range(ROUNDS):
            for case in cases:
                times[case.name] += [case.once() for _ in range(requests // ROUNDS)]
    typer.echo(f"{'microseconds':44}{'p50':>8}{'p99':>8}   bar")
    met = True
    for case in cases:
        found = sorted(times[case.name])
        p50, p99 = found[len(found) // 2] / 1000, found[len(found) * 99 // 100] / 1000
        met &= p50 <= (case.p50_us or p50) and p99 <= (case.p99_us or p99)
        typer.echo(f"{case.name:44}{p50:8.1f}{p99:8.1f}   {_bar(case)}")
    if not met:
        raise typer.Exit(1)


def plugin_cases(stack: ExitStack, folder: Path, base: list[str], hits: list[Hit]) -> list[Case]:
    """A whole request: flag off, control, treated."""
    packaged = load_experiments()["uniecs-recall"]
    shopper = {name: unit_in(packaged, name) for name in ("control", "treatment")}
    switches = folder / "switches.toml"
    switches.write_text("[off]\nall = true\n")
    off = opened(stack, packaged, hits, switches=switches)
    on = opened(stack, packaged, hits)
    page, pool = Query(text=TEXT, limit=20), Query(text=TEXT, limit=len(base))
    return [
        Case(name="nothing (the timer itself)", once=lambda: timed(lambda: None)),
        Case(
            name="assignment",
            once=lambda: timed(lambda: assign(packaged, shopper["treatment"], now=NOW)),
            p50_us=2,
        ),
        Case(
            name="a request, flag off",
            once=lambda: timed(lambda: off.recall(page, base, unit_id=shopper["treatment"], session_id="s")),
            p50_us=3,
        ),
        Case(
            name="a request, control",
            once=lambda: timed(lambda: on.recall(page, base, unit_id=shopper["control"], session_id="s")),
        ),
        Case(
            name=f"a request, treated, a page of {page.limit}",
            once=lambda: beside_the_base(on, page, base, shopper["treatment"], wait=busy),
            p50_us=80,
            p99_us=250,
        ),
        Case(
            name=f"a request, treated, a pool of {pool.limit}",
            once=lambda: beside_the_base(on, pool, base, shopper["treatment"], wait=busy),
            p50_us=80,
            p99_us=250,
        ),
        Case(
            name=f"the same after {BASE_S * 1000:g} ms asleep",
            once=lambda: beside_the_base(on, pool, base, shopper["treatment"], wait=asleep),
        ),
    ]


def merge_cases(base: list[str], candidates: int) -> list[Case]:
    """The rules alone, on lists that share nothing, a fifth, all."""
    cases = []
    rules: list[tuple[str, Rule, float | None]] = [
        ("append", AppendQuota(), None),
        ("reciprocal rank", ReciprocalRank(), 100),
        ("snake", Snake(), None),
        ("weighted", WeightedByRank(), None),
    ]
    for name, rule, p50_us in rules:
        for shared in (0, candidates // 5, candidates):
            found = {"uniecs": heard(lists(candidates, shared=shared)[1])}
            cases.append(
                Case(
                    name=f"merge, {name}, {shared} shared",
                    once=lambda rule=rule, found=found: timed(  # type: ignore[misc]
                        lambda: blend(base, found, rule=rule, limit=candidates)
                    ),
                    p50_us=p50_us if shared < candidates else None,
                )
            )
    return cases


def timed(call: Callable[[], Any]) -> int:
    """Nanoseconds of one call."""
    began = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - began


def busy() -> None:
    """The base's answer comes over a socket, and is parsed before it is handed over."""
    time.sleep(BASE_S)
    json.loads(RESPONSE)


def asleep() -> None:
    """The base is a list that was fetched elsewhere: this thread has done nothing since it asked."""
    time.sleep(BASE_S)


def beside_the_base(
    plugin: RecallPlugin, query: Query, base: Sequence[str], unit_id: str, *, wait: Callable[[], None]
) -> int:
    """Nanoseconds before the base is asked and after it has answered; the channel answers meanwhile."""
    at = [0, 0]

    def slower_than_the_channel() -> Sequence[str]:
        at[0] = time.perf_counter_ns()
        wait()
        at[1] = time.perf_counter_ns()
        return base

    while True:
        began = time.perf_counter_ns()
        result = plugin.recall(query, slower_than_the_channel, unit_id=unit_id, session_id="s")
        ended = time.perf_counter_ns()
        if not result.degraded:  # else another program had the processor meanwhile
            return at[0] - began + ended - at[1]


def opened(
    stack: ExitStack, experiment: Experiment, hits: list[Hit], *, switches: Path | None = None
) -> RecallPlugin:
    """A plugin with a channel that answers at once."""
    settings = Settings(_env_file=None, switches=switches)  # type: ignore[call-arg]
    channel = InMemoryChannel({TEXT: hits})
    plugin = RecallPlugin([channel], experiment, ForgetfulLog(), settings=settings)
    stack.callback(plugin.close)
    return plugin


def lists(candidates: int, *, shared: int) -> tuple[list[str], list[Hit]]:
    """The base, and what the channel found, the shared products scattered over it."""
    base = [f"product-{number:05}" for number in range(candidates)]
    found = base[:shared] + [f"recalled-{number:05}" for number in range(candidates - shared)]
    Random(7).shuffle(found)
    return base, [Hit(product_id=product_id, score=0.5, version=1) for product_id in found]


def heard(hits: Sequence[Hit]) -> Sequence[Hit]:
    """As a merge gets them: looked through on the channel's thread, while the base was computed."""
    request = ChannelRequest(
        query=Query(text=TEXT), limit=len(hits), deadline_s=0.0, request_id="q", unit_id="u"
    )
    return clean(ChannelAnswer(status="ok", hits=tuple(hits)), request)[0].hits


def unit_in(experiment: Experiment, variant: str) -> str:
    """A shopper of this variant."""
    shoppers = (f"shopper-{number}" for number in range(1_000))
    return next(unit for unit in shoppers if assign(experiment, unit, now=NOW).variant == variant)


def _bar(case: Case) -> str:
    bars = [("p50", case.p50_us), ("p99", case.p99_us)]
    return ", ".join(f"{name} <= {bar:g}" for name, bar in bars if bar is not None)


if __name__ == "__main__":
    typer.run(main)
