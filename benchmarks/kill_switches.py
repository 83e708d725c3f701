"""How long after a kill switch is thrown does every host process obey it?

    python -m benchmarks.kill_switches [--times 10] [--processes 2]

Host processes search without a pause, each with a plugin of its own and one
file of switches between them. The file is written, as the service writes it or
a person does, once for a channel, once for the experiment, once for everything,
and cleared again each time. Counted is from the write to the first search of
the slowest process that obeys, on the wall clock; none of them is started again.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import structlog
import typer

from experiments.assignment import assign
from experiments.definition import load_experiments
from recall_plugin.build import NoEventLog
from recall_plugin.channels.in_memory import InMemoryChannel
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from recall_plugin.settings import Settings

WITHIN_S = 1.0
EXPERIMENT = "uniecs-recall"
# What is written, and what a search of a treated shopper then says.
SWITCHES = {
    "channel": ('[off]\nchannels = ["uniecs"]\n', "channel off"),
    "experiment": (f'[off]\nexperiments = ["{EXPERIMENT}"]\n', "off"),
    "everything": ("[off]\nall = true\n", "off"),
}
SEARCH_EVERY_S = 0.002


def main(
    times: Annotated[int, typer.Option(help="How often each is thrown.")] = 10,
    processes: Annotated[int, typer.Option(help="Hosts.")] = 2,
) -> None:
    """Throw each switch, time it, clear it."""
    slowest_s = 0.0
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        file = Path(folder) / "switches.toml"
        hosts = [Host(file) for _ in range(processes)]
        for host in hosts:
            host.wait_for("on")
        for name, (text, says) in SWITCHES.items():
            thrown, cleared = [], []
            for turn in range(times):
                time.sleep(0.05 * turn)  # at another moment between two looks at the file
                thrown.append(_seconds_until(hosts, file, text, says))
                cleared.append(_seconds_until(hosts, file, "", "on"))
            slowest_s = max(slowest_s, *thrown)
            typer.echo(
                f"{name:12} off after {median(thrown):.2f} s, {max(thrown):.2f} s at most;"
                f" on again after {median(cleared):.2f} s, {max(cleared):.2f} s at most"
            )
        pids = {host.pid for host in hosts}
        for host in hosts:
            host.end()
    typer.echo(f"{len(pids)} processes, none started again; bar: {WITHIN_S:g} s")
    if slowest_s > WITHIN_S:
        raise typer.Exit(1)


class Host:
    """A process that searches, and says when its answers change."""

    def __init__(self, file: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.kill_switches", "host", str(file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def wait_for(self, state: str) -> float:
        """When it first said so, on the clock that processes share."""
        for line in self._process.stdout or ():
            at_s, says = json.loads(line)
            if says == state:
                return float(at_s)
        raise RuntimeError(f"a host ended before it was {state}")

    def end(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def search(file: Path) -> None:
    """Search for ever; a line whenever the answer is of another kind."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    experiment = load_experiments()[EXPERIMENT]
    settings = Settings(_env_file=None, switches=file)  # type: ignore[call-arg]
    plugin = RecallPlugin([InMemoryChannel({})], experiment, NoEventLog(), settings=settings)
    shoppers = (f"shopper-{number}" for number in range(1_000))
    treated = next(
        unit
        for unit in shoppers
        if assign(experiment, unit, now=experiment.start).variant != experiment.control
    )
    said = ""
    while os.getppid() != 1:  # until the benchmark has gone
        answer = plugin.recall(
            Query(text="mug"), ["own"], unit_id=treated, session_id="s", now=experiment.start, grace_ms=100
        )
        state = "off" if answer.reason == "off" else "on"
        if state == "on" and answer.channels["uniecs"].status == "off":
            state = "channel off"
        if state != said:
            said = state
            sys.stdout.write(json.dumps([time.monotonic(), state]) + "\n")
            sys.stdout.flush()
        time.sleep(SEARCH_EVERY_S)


def _seconds_until(hosts: list[Host], file: Path, text: str, says: str) -> float:
    at_s = time.monotonic()
    _write(file, text)
    return max(host.wait_for(says) for host in hosts) - at_s


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        search(Path(sys.argv[2]))
    else:
        typer.run(main)
