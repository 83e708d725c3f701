"""Does the plugin harm the funnel? Every fault against no plugin, in the same seconds.

    python -m benchmarks.do_no_harm [--rounds 4] [--at-most 8] [--seconds 1] [--rate 200] [--only hangs,...]

Open loop: searches arrive by the clock, whether the ones before have been
answered or not, and time counts from when they should have arrived. The base
takes 15 ms. Blocks without and with the plugin alternate (`paired`), with a
pause before each, so that what a sidecar still works off falls on neither.
A killed sidecar is started again at most every 5 seconds: its blocks are as long.
Rounds are added while a bar lies inside the interval. `alone` is how far apart
two blocks without any plugin come out; the first line has no plugin at all.
Half of the units are in control: their answer must be the base, byte for byte.

Channels run in a sidecar, as they do by default. The last lines run them in
this process: a channel that burns the processor there holds the interpreter,
and no rule about waiting can help. The breaker ends it soon, so it is shown
without one too, in both places; that is why the sidecar is the default.
"""

import gc
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
from statistics import median
from typing import Annotated, Any

import structlog
import typer

from benchmarks.faults import IN_PROCESS, SIDECAR, disk_full_log, slow_vendor
from benchmarks.paired import Block, Round, in_turn, quantile, ratio
from experiments.definition import Experiment, load_experiments
from experiments.events.json_lines_log import JsonLinesEventLog
from experiments.exposure import EventLog
from recall_plugin.breaker import Breaker, BreakerRule
from recall_plugin.channels import Channel
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from recall_plugin.settings import Settings
from recall_plugin.sidecar.client import SidecarAway, SidecarChannel, SidecarLine, describe
from recall_plugin.sidecar.starting import START_AGAIN_AFTER_S

BASE_S = 0.015
BARS = {0.5: 1.02, 0.99: 1.05}
PAGE = [f"base-{place:03}" for place in range(100)]
QUERY = Query(text="striped red mug")
HEAD = "{:>7}      x (95%, alone)         "
NEVER = BreakerRule(min_outcomes=10**9)
SETTLE_S = 0.5  # the breaker has seen the fault, the threads are there
PAUSE_S = 0.3  # a sidecar has worked off what it was asked


@dataclass(slots=True)
class Tally:
    """What one case showed."""

    rounds: list[Round] = field(default_factory=list)
    errors: int = 0
    control_differs: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it cannot be told yet on which side of a bar this is."""
        return any(ratio(self.rounds, share).leaves_open(bar) for share, bar in BARS.items())

    @property
    def cpu_us(self) -> float:
        """What a search costs this process with the plugin, less what it costs without."""
        with_ms = [block.cpu_ms for one in self.rounds for block in one.given]
        without_ms = [block.cpu_ms for one in self.rounds for block in one.without]
        return 1000 * (median(with_ms) - median(without_ms))


Serve = Callable[[str, int], Any]


def main(
    rounds: Annotated[int, typer.Option(help="Of four blocks, per case.")] = 4,
    at_most: Annotated[int, typer.Option(help="Rounds, where the first leave a bar open.")] = 8,
    seconds: Annotated[float, typer.Option(help="Of one block.")] = 1.0,
    rate: Annotated[float, typer.Option(help="Searches a second; two cores are four fifths idle.")] = 200.0,
    only: Annotated[str, typer.Option(help="Some cases, by name, with commas.")] = "",
) -> None:
    """Run all cases and hold each against the bars."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    chosen = [case for case in cases() if not only or case.name in only.split(",")]
    typer.echo(f"{'case':34}{HEAD.format('p50')}{HEAD.format('p99')}  cpu us  errors  control  rounds  said")
    failed, still_open = [], []
    for case in chosen:
        tally = measure(case, rounds=rounds, at_most=at_most, seconds=seconds, rate=rate)
        same = "same" if not tally.control_differs else f"{tally.control_differs} differ"
        said = ", ".join(f"{name} {count}" for name, count in tally.counts.items())
        typer.echo(
            f"{case.name:34}{_told(tally, 0.5)}{_told(tally, 0.99)}{tally.cpu_us:8.0f}{tally.errors:8}"
            f"  {same:7}{len(tally.rounds):8}  {said:.60}"
        )
        harmed = any(ratio(tally.rounds, share).value > bar for share, bar in BARS.items())
        if case.must_hold and (harmed or tally.errors or tally.control_differs):
            failed.append(case.name)
        if case.must_hold and tally.is_open:
            still_open.append(case.name)
    bars = ", ".join(f"p{share * 100:g} <= {bar}x" for share, bar in BARS.items())
    typer.echo(f"bars: {bars}, no errors, control the same; not met: {failed or '-'}")
    typer.echo(f"a bar inside the interval, so that it cannot be told here: {still_open or '-'}")
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to run the funnel.

    Attributes:
        open: a plugin for the time of the case; None for no plugin at all.
        meanwhile: is called as each block with the plugin begins: it kills, fills, ...
        afterwards: is called when it has ended: all is well again before the next block.
        at_least_s: how long a block must be, for what happens in each of them cannot happen more often.
        must_hold: the bars count.
    """

    name: str
    open: Callable[[ExitStack], RecallPlugin | None]
    meanwhile: Callable[[], None] = lambda: None
    afterwards: Callable[[], None] = lambda: None
    at_least_s: float = 0.0
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
    yield Case(
        name="sidecar killed -9",
        open=killed.open,
        meanwhile=killed.kill,
        afterwards=killed.wait,
        at_least_s=START_AGAIN_AFTER_S,
    )
    yield Case(name="socket full", open=lambda stack: _opened(stack, [_proxy(_full_socket(stack))]))
    yield Case(name="no sidecar", open=lambda stack: _opened(stack, [_proxy(_folder(stack) / "s")]))


class _Killed:
    """A sidecar that is killed as soon as it has been started again, as often as it is: every 5 seconds."""

    def open(self, stack: ExitStack) -> RecallPlugin:
        self._path = _folder(stack) / "s"
        self._process = _start_sidecar(self._path, "healthy")
        stack.callback(lambda: _end(self._process))
        return _opened(stack, [_proxy(self._path)])

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = _start_sidecar(self._path, "healthy", wait=False)

    def wait(self) -> None:
        """Starting takes a processor for a while: no plugin must pay for that."""
        _wait_until_loaded(self._path)


def measure(case: Case, *, rounds: int, at_most: int, seconds: float, rate: float) -> Tally:
    """Rounds without and with, by turns."""
    tally = Tally()
    experiment = load_experiments()["uniecs-recall"]
    seconds = max(seconds, case.at_least_s)
    with ExitStack() as stack:
        plugin = case.open(stack)
        pool = stack.enter_context(ThreadPoolExecutor(64))
        bare = _serve_with(None, experiment, tally)
        ours = _serve_with(plugin, experiment, tally)

        def block(with_it: bool) -> Block:
            time.sleep(PAUSE_S)
            if not with_it:
                return _block(pool, bare, seconds, rate)
            case.meanwhile()
            done = _block(pool, ours, seconds, rate)
            case.afterwards()
            return done

        _block(pool, ours, SETTLE_S, rate)
        gc.collect()
        gc.freeze()  # what was loaded for the benchmark is no part of either
        while len(tally.rounds) < rounds or (len(tally.rounds) < at_most and tally.is_open):
            order = in_turn(len(tally.rounds))
            done = [block(with_it) for with_it in order]
            given = [one for one, with_it in zip(done, order, strict=True) if with_it]
            without = [one for one, with_it in zip(done, order, strict=True) if not with_it]
            tally.rounds.append(Round(without=(without[0], without[1]), given=(given[0], given[1])))
        gc.unfreeze()
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


def _block(pool: ThreadPoolExecutor, serve: Serve, seconds: float, rate: float) -> Block:
    """Searches by the clock, and how long after it each was answered."""
    done = Block()

    def one(number: int, due_s: float) -> None:
        serve(f"shopper-{number % 997}", number)
        done.waits_ms.append((time.perf_counter() - due_s) * 1000)

    cpu_s = time.process_time()
    begin_s = time.perf_counter() + 0.01
    waiting: list[Future[None]] = []
    for number in range(int(seconds * rate)):
        due_s = begin_s + number / rate
        time.sleep(max(0.0, due_s - time.perf_counter()))
        waiting.append(pool.submit(one, number, due_s))
    for future in waiting:
        future.result()
    done.cpu_ms = 1000 * (time.process_time() - cpu_s) / len(waiting)
    return done


def _told(tally: Tally, share: float) -> str:
    found = ratio(tally.rounds, share)
    given_ms = median(quantile(one.given, share) for one in tally.rounds)
    return f"{given_ms:7.2f}{found.value:7.3f} ({found.low:.3f}-{found.high:.3f}, {found.alone:.3f})"


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
    if wait and SIDECAR[fault].starts:
        _wait_until_loaded(path)
    return process


def _wait_until_loaded(path: Path) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            line = SidecarLine(path)
            if describe(line).channels["uniecs"].state == "loaded":
                break
        except (SidecarAway, KeyError):
            time.sleep(0.05)
        finally:
            line.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


if __name__ == "__main__":
    typer.run(main)
