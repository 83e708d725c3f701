"""What a person sees while the demo runs: steps, bars, and the words of its programs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .processes import Process, StackError, log_end

# How often a program's log is looked at: often enough to feel alive.
_LOOK_EVERY_S = 0.1


class Telling:
    """Prints steps with their number and how long each took."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self.console = console
        self._steps = steps
        self._number = 0
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the road."""
        self._number += 1
        self.console.print(f"\n[bold cyan]{self._number}/{self._steps}[/]  [bold]{title}[/]")
        began = time.monotonic()
        yield
        self.console.print(f"     [dim]{time.monotonic() - began:.1f} s[/]")

    def say(self, line: str) -> None:
        """One line under the step; square brackets are the text's own."""
        self.console.print(f"     {line}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, *, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
        """A progress bar; call what it yields with (done, of how many)."""
        columns = (
            TextColumn("     {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(what, total=total)
            yield lambda done, of: bars.update(task, completed=done, total=of)

    def follow(self, process: Process, *, timeout_s: float) -> None:
        """Print what a program writes, line by line, until it ends.

        Raises:
            StackError: it failed, or did not end in time.
        """
        deadline = time.monotonic() + timeout_s
        with process.log.open(encoding="utf-8", errors="replace") as lines:
            held = ""
            with self.console.status(f"     {process.name} is running ..."):
                while True:
                    code = process.exit_code  # before reading: nothing is written after the end
                    *whole, held = (held + lines.read()).split("\n")
                    for line in whole:
                        self.say(f"  {line}")
                    if code is not None:
                        break
                    if time.monotonic() > deadline:
                        process.stop()
                        raise StackError(
                            f"{process.name} did not end within {timeout_s:g} s; see {process.log}"
                        )
                    time.sleep(_LOOK_EVERY_S)
        if held:
            self.say(f"  {held}")
        if process.wait() != 0:
            raise StackError(f"{process.name} failed; see {process.log}\n{log_end(process.log)}")

    @property
    def took_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began
