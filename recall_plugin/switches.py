"""Kill switches: a small file that is looked at again and again.

    [off]
    all = true                       # everything
    experiments = ["uniecs-recall"]  # its units get control and are not logged
    channels = ["uniecs"]            # its answers are missing, the arms stay

A change is followed within the interval, without a restart. No file: nothing
is off. A file that cannot be read switches everything off: whoever is writing
it means to stop something.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import structlog

log = structlog.get_logger(__name__)

# Half the promised second, so that a change between two looks is still in time.
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Off:
    """What is switched off."""

    everything: bool = False
    experiments: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

    def stops(self, experiment: str) -> bool:
        """Whether the experiment is off."""
        return self.everything or experiment in self.experiments


class Switches:
    """The switches as of at most an interval ago.

    Args:
        path: the file, or None for no switches.
        look_every_s: how old what is known may be.
    """

    def __init__(self, path: Path | None, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._path = path
        self._look_every_s = look_every_s
        self._lock = Lock()
        self._next_look_s = float("-inf")
        self._off = Off()

    def read(self, *, now_s: float) -> Off:
        """What is off; `now_s` on the monotonic clock. Never raises."""
        if self._path is None or now_s < self._next_look_s:
            return self._off
        with self._lock:
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + self._look_every_s
                self._follow(self._path)
        return self._off

    def _follow(self, path: Path) -> None:
        before, why = self._off, ""
        try:
            self._off = _parse(path.read_bytes().decode("utf-8-sig"))
        except FileNotFoundError:
            self._off = Off()
        except (OSError, ValueError) as error:
            self._off, why = Off(everything=True), f"cannot be read, so everything is off: {error}"
        if self._off != before:
            log.warning(
                "switches_changed",
                path=str(path),
                everything=self._off.everything,
                experiments=sorted(self._off.experiments),
                channels=sorted(self._off.channels),
                why=why,
            )


def _parse(text: str) -> Off:
    table = tomllib.loads(text)
    off = table.get("off", {})
    if set(table) - {"off"} or not isinstance(off, dict) or set(off) - {"all", "experiments", "channels"}:
        raise ValueError("only [off] with all, experiments and channels is known")
    everything = off.get("all", False)
    if not isinstance(everything, bool):
        raise ValueError(f"all is {everything!r}, must be true or false")  # noqa: TRY004  # one kind for the caller
    return Off(
        everything=everything,
        experiments=_names(off.get("experiments", []), "experiments"),
        channels=_names(off.get("channels", []), "channels"),
    )


def _names(names: object, key: str) -> frozenset[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key} is {names!r}, must be a list of names")
    return frozenset(names)
