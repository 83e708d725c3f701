"""Ramps and kill switches, written where every worker reads them: in the definition, in the switches' file.

The files stay the only truth. What is changed here is a line that a person
could have changed with an editor; it is checked before it is written, and
written in one step.
"""

import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from experiments.definition import Experiments, read_definition
from experiments.errors import InvalidExperiment
from recall_plugin.switches import Off

from .problems import Problem

_TRAFFIC = re.compile(r"^traffic\s*=.*$", re.MULTILINE)


def set_traffic(folder: Path | None, name: str, traffic: float) -> None:
    """Write an experiment's traffic share into its definition.

    Raises:
        Problem: there is no such definition (404), it cannot be written (409), or would be wrong (422).
    """
    if folder is None:
        raise Problem(
            409,
            "the packaged definitions cannot be changed; copy them to a folder and set EXPERIMENTS to it",
        )
    file = _definition_of(folder, name)
    text = file.read_text(encoding="utf-8-sig")
    if len(_TRAFFIC.findall(text)) != 1:
        raise Problem(
            409, f"{file.name} has no single line that begins with `traffic =`; change it in an editor"
        )
    changed = _TRAFFIC.sub(f"traffic = {traffic!r}", text)
    with tempfile.TemporaryDirectory() as trial:
        tried = Path(trial) / file.name
        tried.write_text(changed, encoding="utf-8")
        try:
            read_definition(tried)
        except InvalidExperiment as error:
            raise Problem(422, str(error)) from error
    _replace(file, changed)


def set_switches(path: Path | None, off: Off, *, experiments: Experiments, channels: Collection[str]) -> None:
    """Write what is switched off.

    Raises:
        Problem: a name is not known (422), or the file cannot be written (409).
    """
    for kind, names, known in (
        ("experiment", off.experiments, set(experiments)),
        ("channel", off.channels, set(channels)),
    ):
        unknown = sorted(names - known)
        if unknown:
            raise Problem(422, f"no {kind} {unknown[0]!r}; there are: {', '.join(sorted(known)) or 'none'}")
    if path is None:
        raise Problem(409, "RECALL_SWITCHES is not set; set it to a file that every worker reads")
    lines = [
        "# Written by the service; an editor does as well.",
        "[off]",
        f"all = {str(off.everything).lower()}",
    ]
    lines.append(f"experiments = [{', '.join(map(_quoted, sorted(off.experiments)))}]")
    lines.append(f"channels = [{', '.join(map(_quoted, sorted(off.channels)))}]")
    _replace(path, "\n".join(lines) + "\n")


def _definition_of(folder: Path, name: str) -> Path:
    for file in sorted(folder.glob("*.toml")):
        try:
            if read_definition(file).name == name:
                return file
        except InvalidExperiment:
            continue
    raise Problem(404, f"no definition of {name!r} in {folder}; see GET /experiments")


def _replace(path: Path, text: str) -> None:
    """The whole new file or the whole old one, whatever happens."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise Problem(409, f"{path} cannot be written ({error.strerror}); change its permissions") from error


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
