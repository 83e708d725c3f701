"""Plans on disk: a definition and its signed record, both or neither."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.definition import Experiments, load_experiments, read_definition
from experiments.errors import InvalidExperiment
from experiments.experiment import Experiment
from experiments.report import write_whole
from experiments.signing import SUFFIX, read_record, sign

from .planning import copy_definition, draw_definition


def plan_experiment(
    folder: Path,
    name: str,
    *,
    now: datetime,
    hypothesis: str | None,
    start: datetime | None,
    primaries: Sequence[str],
    caps: Sequence[str] = (),
    like: str | None = None,
    **terms: Any,
) -> dict[str, Any]:
    """Write and sign a definition; without a hypothesis or one that it is like, sign the one that is there.

    Raises:
        InvalidExperiment: it exists, is signed already, breaks a rule or has started.
    """
    file = folder / f"{name}.toml"
    if hypothesis is None and like is None:
        if not file.is_file():
            raise InvalidExperiment(
                f"no definition {file}; give --hypothesis, --start and --primary for a new one,"
                " or --like and --start for one like another"
            )
        return _signed(folder, file, read_definition(file), now)
    if file.exists():
        raise InvalidExperiment(
            f"{file} is there already; leave the options away to sign it, or choose a name"
        )
    if start is None or not (primaries or like):
        raise InvalidExperiment("a new plan needs --start, and at least one --primary or --like")
    if like is not None and primaries:
        raise InvalidExperiment(
            "--like takes the metrics of another; leave --primary away, or leave --like away"
        )
    others = list(load_experiments(folder).values()) if any(folder.glob("*.toml")) else []
    layers = {it.layer.name: it.layer.salt for it in others}
    if like is not None:
        other = _other(folder, like)
        salt = layers.get(read_definition(other).layer.name, secrets.token_hex(8))
        text = copy_definition(
            other.read_text(encoding="utf-8-sig"),
            name=name,
            start=start,
            salts=(salt, secrets.token_hex(8)),
            hypothesis=hypothesis,
        )
    else:
        text = draw_definition(
            name,
            hypothesis=hypothesis or "",
            start=start,
            salts=(layers.get("recall", secrets.token_hex(8)), secrets.token_hex(8)),
            primaries=primaries,
            caps=dict(_cap(line) for line in caps),
            **terms,
        )
    with TemporaryDirectory() as draft:
        (Path(draft) / file.name).write_text(text, encoding="utf-8")
        experiment = read_definition(Path(draft) / file.name)
    Experiments([*others, experiment])  # refuses slots that another experiment owns
    sign(experiment, now=now)
    write_whole(file, text)
    return _signed(folder, file, experiment, now)


def _other(folder: Path, name: str) -> Traversable:
    """The definition to begin from: one in the folder, or a packaged one."""
    packaged = resources.files("experiments.definitions").joinpath(f"{name}.toml")
    for file in (folder / f"{name}.toml", packaged):
        if file.is_file():
            return file
    known = sorted({*(it.stem for it in folder.glob("*.toml")), *load_experiments()})
    raise InvalidExperiment(f"no definition {name!r} to be like; there are {', '.join(known)}")


def _signed(folder: Path, file: Path, experiment: Experiment, now: datetime) -> dict[str, Any]:
    before = read_record(experiment.name, folder)
    record = sign(experiment, now=now)
    if before is not None and before.signature == record.signature:
        record = before  # signed as it is: the first time counts
    else:
        write_whole(folder / f"{experiment.name}{SUFFIX}", record.to_json())
    return {
        "definition": str(file),
        "record": str(folder / f"{experiment.name}{SUFFIX}"),
        "signature": record.signature,
        "signed_at": record.signed_at.isoformat(),
        "start": experiment.start.isoformat(),
        "planned_end": experiment.planned_end.isoformat(),
    }


def _cap(line: str) -> tuple[str, float]:
    name, _, value = line.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise InvalidExperiment(f"cap {line!r} must be NAME=quantile, as spend=0.99") from error
