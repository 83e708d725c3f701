"""A plan that is signed before the start, and what a definition says now that the plan did not.

A record is the definition's terms and their hash, kept beside it as
`NAME.signed.json`. Whoever changes the definition afterwards is shown on the
page; what decides may not change at all.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from .errors import InvalidExperiment
from .experiment import Experiment

SUFFIX = ".signed.json"

# Worked out from the rest, or allowed to be ramped.
_LEFT_OUT = ("traffic", "traffic_bound", "arm_bounds", "arm_ranges")

Terms = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was signed, and when."""

    name: str
    signature: str
    signed_at: datetime
    terms: Terms

    def to_json(self) -> str:
        """The record as JSON."""
        plain = asdict(self) | {"signed_at": self.signed_at.astimezone(UTC).isoformat()}
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A definition held against its plan.

    Attributes:
        signed_at: None where there is no plan.
        in_time: whether it was signed before the start.
        graver: changes of what decides, in words.
        lighter: changes of what explains, in words.
        unplanned: metrics that are not as they were signed.
    """

    signed_at: datetime | None = None
    in_time: bool = False
    graver: tuple[str, ...] = ()
    lighter: tuple[str, ...] = ()
    unplanned: tuple[str, ...] = ()


def sign(experiment: Experiment, *, now: datetime) -> Record:
    """Sign a definition as it is.

    Raises:
        InvalidExperiment: it has started; a plan made afterwards is none.
    """
    if now >= experiment.start:
        raise InvalidExperiment(
            f"{experiment.name!r} started {experiment.start.isoformat()}, before now: a plan is signed before"
            " the start; set a later start"
        )
    terms = terms_of(experiment)
    return Record(name=experiment.name, signature=_hash(terms), signed_at=now, terms=terms)


def read_record(name: str, folder: Path | None) -> Record | None:
    """The record beside a definition; None where there is none.

    Raises:
        InvalidExperiment: it is not one, or was changed by hand.
    """
    place: Traversable = resources.files("experiments.definitions") if folder is None else folder
    file = place.joinpath(f"{name}{SUFFIX}")
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        record = Record(**found | {"signed_at": datetime.fromisoformat(found["signed_at"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidExperiment(f"{file.name} is not a signed plan: {error!r}; sign again") from error
    if record.signature != _hash(record.terms) or record.name != name:
        raise InvalidExperiment(f"{file.name} was changed after it was signed; restore it, or sign again")
    return record


def hold(experiment: Experiment, record: Record | None) -> Held:
    """What the definition says now that the plan did not; a term that the plan never knew is let be."""
    if record is None:
        return Held()
    now, then = terms_of(experiment), record.terms
    graver: list[str] = []
    lighter: list[str] = []
    unplanned: list[str] = []
    for name in now:
        if name in ("metrics", "segments", "hypothesis") or name not in then:
            continue
        if now[name] != then[name]:
            graver.append(f"{name.replace('_', ' ')} was {_short(then[name])}, is now {_short(now[name])}")
    planned = {metric["name"]: metric for metric in then["metrics"]}
    current = {metric["name"]: metric for metric in now["metrics"]}
    for name in dict.fromkeys([*planned, *current]):
        said = _metric_change(name, planned.get(name), current.get(name))
        if not said:
            continue
        decides = any(it and it["role"] != "secondary" for it in (planned.get(name), current.get(name)))
        (graver if decides else lighter).append(said)
        if name in current:
            unplanned.append(name)
    return Held(
        signed_at=record.signed_at,
        in_time=record.signed_at < experiment.start,
        graver=tuple(graver),
        lighter=tuple(lighter),
        unplanned=tuple(unplanned),
    )


def _metric_change(name: str, then: Terms | None, now: Terms | None) -> str:
    if then is None:
        return f"metric {name} is not in the plan"
    if now is None:
        return f"metric {name} was planned and is gone"
    changed = [key for key in now if key in then and key != "title" and now[key] != then[key]]
    return "; ".join(
        f"{key.replace('_', ' ')} of {name} was {_short(then[key])}, is now {_short(now[key])}"
        for key in changed
    )


def terms_of(experiment: Experiment) -> Terms:
    """All that a definition says, as plain words and numbers."""
    plain = {name: value for name, value in asdict(experiment).items() if name not in _LEFT_OUT}
    found: Terms = json.loads(json.dumps(plain, default=_moment, sort_keys=True))
    return found


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(repr(value))


def _hash(terms: Terms) -> str:
    text = json.dumps(terms, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
