"""Does the plugin harm the funnel? Every fault against no plugin, in the same run.

    python -m benchmarks.do_no_harm [--rounds 6] [--seconds 4] [--rate 100] [--only hangs,...]

Open loop: searches arrive by the clock, whether the ones before have been
answered or not, and time counts from when they should have arrived. The base
takes 15 ms. Blocks without and with the plugin alternate, so that a busy
moment of the machine falls on both; the first line compares no plugin with no
plugin: the noise. Half of the units are in control: their answer must be the
base, byte for byte.

Channels run in a sidecar, as they do by default. The last lines run them in
this process: a channel that burns the processor there holds the interpreter,
and no rule about waiting can help. The breaker ends it soon, so it is shown
without one too, in both places; that is why the sidecar is the default.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from benchmarks.faults import IN_PROCESS, SIDECAR, disk_full_log, slow_vendor
from experiments.definition import Experiment, load_experiments
from experiments.events.json_lines_log import JsonLinesEventLog
from experiments.exposure import EventLog
from recall_plugin.breaker import Breaker, BreakerRule
from recall_plugin.channels import Channel
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from recall_plugin.settings import Settings
from recall_plugin.sidecar.client import SidecarAway, SidecarChannel, SidecarLine, describe

BASE_S = 0.015
P50_BAR, P99_BAR = 1.02, 1.05
PAGE = [f"base-{place:03}" for place in range(100)]
QUERY = Query(text="striped red mug")
NEVER = BreakerRule(min_outcomes=10**9)
SETTLE_S = 0.5  # the breaker has seen the fault, the threads are there


@dataclass(slots=True)
class Tally:
    """What one case showed."""

    without_ms: list[float] = field(default_factory=list)
    with_ms: list[float] = field(default_factory=list)
    errors: int = 0
    control_differs: int = 0
    counts: dict[str, int] = field(default_factory=dict)


Serve = Callable[[str, int], Any]


def main(
    rounds: Annotated[int, typer.Option(help="Blocks without and with the plugin, per case.")] = 6,
    seconds: Annotated[float, typer.Option(help="Of one block.")] = 4.0,
    rate: Annotated[float, typer.Option(help="Searches a second.")] = 100.0,
    only: Annotated[str, typer.Option(help="Some cases, by name, with commas.")] = "",
) -> None:
    """Run all cases and hold each against the bars."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    chosen = [case for case in cases() if not only or case.name in only.split(",")]
    typer.echo(f"{'case':34}{'p50':>7}{'x':>7}{'p99':>8}{'x':>7}  errors  control  what the channel said")
    failed = []
    for case in chosen:
        tally = measure(case, rounds=rounds, seconds=seconds, rate=rate)
        p50, p50x = _ratio(tally, 0.5)
        p99, p99x = _ratio(tally, 0.99)
        same = "same" if not tally.control_differs else f"{tally.control_differs} differ"
        said = ", ".join(f"{name} {count}" for name, count in tally.counts.items())
        typer.echo(
            f"{case.name:34}{p50:7.2f}{p50x:7.3f}{p99:8.2f}{p99x:7.3f}{tally.errors:8}  {same:7}  {said:.70}"
        )
        harmed = p50x > P50_BAR or p99x > P99_BAR or tally.errors or tally.control_differs
        if harmed and case.must_hold:
            failed.append(case.name)
    typer.echo(
        f"bars: p50 <= {P50_BAR}x, p99 <= {P99_BAR}x, no errors, control the same; not met: {failed or '-'}"
    )
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to run the funnel.

    Attributes:
        open: a plugin for the time of the case; None for no plugin at all.
        meanwhile: is called now and then while it runs: it kills, fills, ...
        must_hold: the bars count.
    """

    name: str
    open: Callable[[ExitStack], RecallPlugin | None]
    meanwhile: Callable[[], None] = lambda: None
    must_hold: bool = True


def cases() -> Iterator[Case]:
    """The noise first, the hopeless last."""
    yield Case(name="no plugin", open=lambda _: None, must_hold=False)
    yield Case(name="flag off", open=lambda stack: _plugin(stack, "healthy", off=True))
    for name, fault in SIDECAR.items():
        yield Case(name=name, open=lambda stack, name=name: _plugin(stack, name), must_hold=fault.must_hold)  # type: ignore[misc]
    burning = {"breaker": lambda: Breaker(NEVER)}
    yield Case(name="50 ms of CPU (no breaker)", open=lambda stack: _plugin(stack, "50 ms of CPU", **burning))
    yield from _killed_and_full()
    yield Case(name="log disk full", open=lambda stack: _plugin(stack, "healthy", log=disk_full_log(stack)))
    yield Case(name="provider slow", open=lambda stack: _plugin(stack, "healthy", vendor=slow_vendor()))
    for name, fault in IN_PROCESS.items():
        yield Case(
            name=f"in this process: {name}",
            open=lambda stack, fault=fault: _opened(stack, [fault.channel()]),  # type: ignore[misc]
            must_hold=fault.must_hold,
        )
    yield Case(
        name="in this process: 50 ms (no breaker)",
        open=lambda stack: _opened(stack, [IN_PROCESS["50 ms of CPU"].channel()], **burning),
        must_hold=False,
    )


def _killed_and_full() -> Iterator[Case]:
    """The sidecar is killed again and again; its socket takes connections and never answers."""
    killed = _Killed()
    yield Case(name="sidecar killed -9", open=killed.open, meanwhile=killed.kill)
    yield Case(name="socket full", open=lambda stack: _opened(stack, [_proxy(_full_socket(stack))]))
    yield Case(name="no sidecar", open=lambda stack: _opened(stack, [_proxy(_folder(stack) / "s")]))


class _Killed:
    """A sidecar that its process manager starts again after each kill."""

    def open(self, stack: ExitStack) -> RecallPlugin:
        self._path = _folder(stack) / "s"
        self._process = _start_sidecar(self._path, "healthy")
        stack.callback(lambda: _end(self._process))
        return _opened(stack, [_proxy(self._path)])

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = _start_sidecar(self._path, "healthy", wait=False)


def measure(case: Case, *, rounds: int, seconds: float, rate: float) -> Tally:
    """Blocks without and with, by turns."""
    tally = Tally()
    experiment = load_experiments()["uniecs-recall"]
    with ExitStack() as stack:
        plugin = case.open(stack)
        pool = stack.enter_context(ThreadPoolExecutor(64))
        bare = _serve_with(None, experiment, tally)
        ours = _serve_with(plugin, experiment, tally)
        _block(pool, ours, SETTLE_S, rate)
        for turn in range(rounds):
            order = [(bare, tally.without_ms), (ours, tally.with_ms)]
            for serve, times in order if turn % 2 == 0 else order[::-1]:
                case.meanwhile()
                times.extend(_block(pool, serve, seconds, rate))
        if plugin is not None:
            counts = plugin.counts().items()
            tally.counts = dict(sorted(counts, key=lambda one: -one[1]))
    return tally


def _serve_with(plugin: RecallPlugin | None, experiment: Experiment, tally: Tally) -> Serve:
    """One search, as the funnel would answer it."""

    def base() -> list[str]:
        time.sleep(BASE_S)
        return [*PAGE]

    def serve(unit_id: str, number: int) -> None:
        own: list[str] = []
        try:
            if plugin is None:
                base()
                return
            result = plugin.recall(
                QUERY,
                lambda: own.extend(base()) or own,  # type: ignore[func-returns-value]
                unit_id=unit_id,
                session_id="s",
                query_id=f"q{number}",
            )
            if result.variant == experiment.control:
                tally.control_differs += result.product_ids is not own or own != PAGE
            tally.errors += result.product_ids[:4] != PAGE[:4]  # the protected head
        except Exception:
            tally.errors += 1

    return serve


def _block(pool: ThreadPoolExecutor, serve: Serve, seconds: float, rate: float) -> list[float]:
    """Milliseconds from when each search should have arrived to its answer."""
    times: list[float] = []

    def one(number: int, due_s: float) -> None:
        serve(f"shopper-{number % 997}", number)
        times.append((time.perf_counter() - due_s) * 1000)

    begin_s = time.perf_counter() + 0.01
    waiting: list[Future[None]] = []
    for number in range(int(seconds * rate)):
        due_s = begin_s + number / rate
        time.sleep(max(0.0, due_s - time.perf_counter()))
        waiting.append(pool.submit(one, number, due_s))
    for future in waiting:
        future.result()
    return times


def _ratio(tally: Tally, share: float) -> tuple[float, float]:
    """The quantile with the plugin, and over the one without."""
    bare, ours = (sorted(times)[int(len(times) * share)] for times in (tally.without_ms, tally.with_ms))
    return ours, ours / bare


def _plugin(stack: ExitStack, fault: str, *, log: EventLog | None = None, **options: Any) -> RecallPlugin:
    """The plugin in front of a sidecar with this fault."""
    path = _folder(stack) / "s"
    process = _start_sidecar(path, fault)
    stack.callback(lambda: _end(process))
    return _opened(stack, [_proxy(path)], log=log, **options)


def _opened(
    stack: ExitStack,
    channels: list[Channel],
    *,
    log: EventLog | None = None,
    off: bool = False,
    **options: Any,
) -> RecallPlugin:
    folder = _folder(stack)
    if off:
        (folder / "switches.toml").write_text("[off]\nall = true\n")
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, switches=folder / "switches.toml", counterfactual_share=0.01
    )
    experiment = load_experiments()["uniecs-recall"]
    events = log or JsonLinesEventLog(folder / "events")
    plugin = RecallPlugin(channels, experiment, events, settings=settings, **options)
    stack.callback(plugin.close)
    return plugin


def _proxy(path: Path) -> SidecarChannel:
    return SidecarChannel("uniecs", SidecarLine(path))


def _folder(stack: ExitStack) -> Path:
    """Short: a socket's address has about a hundred bytes."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harm-", dir="/tmp")))


def _full_socket(stack: ExitStack) -> Path:
    """Somebody listens, nobody accepts, and the queue is full."""
    path = _folder(stack) / "s"
    listening = stack.enter_context(socket.socket(socket.AF_UNIX))
    listening.bind(str(path))
    listening.listen(0)
    return path


def _start_sidecar(path: Path, fault: str, *, wait: bool = True) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.faults", str(path), fault]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    deadline_s = time.monotonic() + 60
    while wait and SIDECAR[fault].starts and time.monotonic() < deadline_s:
        try:
            line = SidecarLine(path)
            if describe(line).channels["uniecs"].state == "loaded":
                break
        except (SidecarAway, KeyError):
            time.sleep(0.05)
        finally:
            line.close()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


if __name__ == "__main__":
    typer.run(main)
