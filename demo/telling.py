"""What a person sees while the demo runs: steps, bars, and the words of its programs.

A terminal gets bars and lines broken at its width; a file gets whole lines, and
a line now and then instead of a bar.
"""

import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .processes import Process, StackError, log_end

_INDENT = "     "
# How our programs begin the sentence that says why they failed.
_ERROR = "error: "
# Where there is no bar, a line this often tells that something moves.
_LINE_EVERY_S = 10.0
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
        self.console.print(f"\n[bold cyan]{self._number}/{self._steps}[/]  [bold]{title}[/]", soft_wrap=True)
        began = time.monotonic()
        yield
        self.console.print(f"{_INDENT}[dim]{time.monotonic() - began:.1f} s[/]")

    def say(self, line: str, *, indent: str = _INDENT, hanging: int | None = 2) -> None:
        """One line under the step; square brackets are the text's own.

        Args:
            line: broken between words at the width of a terminal, never inside a path.
            indent: before it.
            hanging: how much further in it goes on; None: it is there to be copied, never break it.
        """
        if self.console.is_terminal and hanging is not None:
            depth = len(line) - len(line.lstrip()) + hanging
            line = textwrap.fill(
                line,
                max(40, self.console.width - 1),
                initial_indent=indent,
                subsequent_indent=indent + " " * depth,
                break_long_words=False,
                break_on_hyphens=False,
            )
        else:
            line = indent + line
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, *, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
        """A progress bar; call what it yields with (done, of how many)."""
        if not self.console.is_terminal:
            yield self._lines_now_and_then(what)
            return
        columns = (
            TextColumn(_INDENT + "{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(what, total=total)
            yield lambda done, of: bars.update(task, completed=done, total=of)

    def _lines_now_and_then(self, what: str) -> Callable[[int, int], None]:
        told_at = time.monotonic()

        def tell(done: int, of: int) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _LINE_EVERY_S:
                told_at = time.monotonic()
                self.say(f"{what}: {done:,} of {of:,}")

        return tell

    def follow(self, process: Process, *, timeout_s: float) -> None:
        """Print what a program says to people, line by line, until it ends.

        Raises:
            StackError: it failed, in its own words if it found any, or did not end in time.
        """
        failure = ""
        deadline = time.monotonic() + timeout_s
        with process.log.open(encoding="utf-8", errors="replace") as lines:
            held = ""
            with self.console.status(f"     {process.name} is running ..."):
                while True:
                    code = process.exit_code  # before reading: nothing is written after the end
                    *whole, held = (held + lines.read()).split("\n")
                    for line in whole:
                        failure = line if line.startswith(_ERROR) else failure
                        self._pass_on(line)
                    if code is not None:
                        break
                    if time.monotonic() > deadline:
                        process.stop()
                        raise StackError(
                            f"{process.name} did not end within {timeout_s:g} s; see {process.log}"
                        )
                    time.sleep(_LOOK_EVERY_S)
        self._pass_on(held)
        if process.wait() != 0:
            raise StackError(
                failure.removeprefix(_ERROR)
                or f"{process.name} failed; see {process.log}\n{log_end(process.log)}"
            )

    def _pass_on(self, line: str) -> None:
        # A log event is for machines and stays in the log; an error is told at the end, once.
        if line and not line.startswith(("{", _ERROR)):
            self.say(f"  {line}")

    @property
    def took_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began
