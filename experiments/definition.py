"""The experiments that are defined: TOML files to records, checked for unknown and missing keys.

The rules live with the records in `experiment`; a sentence about a broken one
begins with the file's name.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from .errors import InvalidExperiment, UnknownExperiment
from .experiment import COLUMNS, SLOTS, Experiment, Layer, Metric, Plan, Variant, refuse_overlap
from .targeting import Target

__all__ = [
    "COLUMNS",
    "SLOTS",
    "Experiment",
    "Experiments",
    "Layer",
    "Metric",
    "Plan",
    "Variant",
    "load_experiments",
    "read_definition",
]

_EXPERIMENT_KEYS = {
    "name": str,
    "hypothesis": str,
    "unit": str,
    "salt": str,
    "phase": str,
    "traffic": float,
    "control": str,
    "start": datetime,
    "layer": dict,
    "looks": dict,
    "attribution": dict,
    "variants": dict,
    "metrics": dict,
    "segments": list,
    "targeting": list,
    "hashing": str,
}
_TARGET_KEYS = {
    "attribute": str,
    "is_in": list,
    "not_in": list,
    "at_least": float,
    "at_most": float,
    "equals": bool,
}
_METRIC_KEYS = {
    "title": str,
    "role": str,
    "numerator": str,
    "denominator": str,
    "good": str,
    "shown_as": str,
    "cap_quantile": float,
    "margin": float,
    "margin_kind": str,
}
_KIND_NAMES = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    datetime: "a time",
}


class Experiments(Mapping[str, Experiment]):
    """The experiments defined here, by name; those in one layer own different slots."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self._by_name = {experiment.name: experiment for experiment in experiments}
        if len(self._by_name) < len(experiments):
            names = sorted(experiment.name for experiment in experiments)
            raise InvalidExperiment(f"two experiments share a name: {', '.join(names)}; rename one")
        _check_layers(experiments)

    def __getitem__(self, name: str) -> Experiment:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name)) or "none"
            raise UnknownExperiment(
                f"no experiment {name!r}; defined here: {known}; name one of these, "
                "or let EXPERIMENTS name the folder that has it"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_name))

    def __len__(self) -> int:
        return len(self._by_name)


def load_experiments(folder: Path | None = None) -> Experiments:
    """Read every `*.toml` in a folder; without one, the packaged definitions.

    Raises:
        InvalidExperiment: a file cannot be read or breaks a rule; the sentence names it.
    """
    place: Traversable = resources.files("experiments.definitions") if folder is None else folder
    if not place.is_dir():
        raise InvalidExperiment(
            f"{place} is not a folder; EXPERIMENTS must name a folder of *.toml definitions"
        )
    files = sorted(
        (file for file in place.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name
    )
    if not files:
        raise InvalidExperiment(
            f"no *.toml definitions in {place}; write one, or unset EXPERIMENTS for the packaged ones"
        )
    return Experiments([read_definition(file) for file in files])


def read_definition(file: Traversable) -> Experiment:
    """One definition.

    Raises:
        InvalidExperiment: not TOML, a key is unknown, missing or of the wrong kind, or a rule is broken.
    """
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidExperiment(f"{file.name}: cannot be read as TOML: {error}") from error
    try:
        return _experiment(table)
    except InvalidExperiment as error:
        raise InvalidExperiment(f"{file.name}: {error}") from error


def _experiment(table: Mapping[str, Any]) -> Experiment:
    top = _take(table, "the definition", _EXPERIMENT_KEYS, optional=("segments", "targeting", "hashing"))
    layer = _take(top["layer"], "[layer]", {"name": str, "salt": str, "slots": list})
    looks = _take(top["looks"], "[looks]", {"planned": int, "every_days": int})
    attribution = _take(top["attribution"], "[attribution]", {"days": int})
    return Experiment(
        name=top["name"],
        hypothesis=top["hypothesis"],
        unit=top["unit"],
        layer=Layer(name=layer["name"], salt=layer["salt"], slots=_slots(layer["slots"])),
        salt=top["salt"],
        phase=top["phase"],
        traffic=top["traffic"],
        control=top["control"],
        variants=tuple(_variant(name, fields) for name, fields in top["variants"].items()),
        start=top["start"],
        planned_looks=looks["planned"],
        look_every_days=looks["every_days"],
        attribution_days=attribution["days"],
        metrics=tuple(_metric(name, fields) for name, fields in top["metrics"].items()),
        segments=_texts(top.get("segments", []), "segments"),
        targeting=tuple(_target(rule) for rule in top.get("targeting", [])),
        hashing=top.get("hashing", "murmur3"),
    )


def _target(table: Any) -> Target:
    optional = ("is_in", "not_in", "at_least", "at_most", "equals")
    fields = _take(table, "[[targeting]]", _TARGET_KEYS, optional=optional)
    for key in ("is_in", "not_in"):
        if key in fields:
            fields[key] = _texts(fields[key], f"[[targeting]] {key}")
    return Target(**fields)


def _variant(name: str, table: Any) -> Variant:
    where = f"[variants.{name}]"
    fields = _take(table, where, {"share": float, "plan": dict}, optional=("plan",))
    plan = _take(
        fields.get("plan", {}),
        f"[variants.{name}.plan]",
        {"channels": list, "merge": str, "parameters": dict},
        optional=("channels", "merge", "parameters"),
    )
    plan["channels"] = _texts(plan.get("channels", []), f"{where} channels")
    return Variant(name=name, share=fields["share"], plan=Plan(**plan))


def _metric(name: str, table: Any) -> Metric:
    optional = ("denominator", "good", "shown_as", "cap_quantile", "margin", "margin_kind")
    return Metric(name=name, **_take(table, f"[metrics.{name}]", _METRIC_KEYS, optional=optional))


def _slots(ranges: list[Any]) -> tuple[tuple[int, int], ...]:
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_kind(end, int) for end in pair):
            raise InvalidExperiment(
                f"[layer] slots has {pair!r}, must be pairs of whole numbers like [0, 4294967296]"
            )
    return tuple((first, last) for first, last in ranges)


def _texts(values: list[Any], where: str) -> tuple[str, ...]:
    for text in values:
        if not isinstance(text, str) or not text:
            raise InvalidExperiment(f"{where}: {text!r} must be non-empty text")
    return tuple(values)


def _check_layers(experiments: Sequence[Experiment]) -> None:
    layers: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        layers.setdefault(experiment.layer.name, []).append(experiment)
    for name, tenants in layers.items():
        salts = {tenant.layer.salt for tenant in tenants}
        if len(salts) > 1:
            owners = ", ".join(sorted(tenant.name for tenant in tenants))
            raise InvalidExperiment(f"layer {name!r} has different salts in {owners}; a layer has one")
        refuse_overlap(
            name,
            [(first, last, repr(tenant.name)) for tenant in tenants for first, last in tenant.layer.slots],
        )


def _take(
    table: Any, where: str, kinds: Mapping[str, Callable[..., Any]], *, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The keys of a table, each of its kind; no other key, none missing."""
    if not isinstance(table, dict):
        raise InvalidExperiment(f"{where} must be a table")
    unknown = sorted(set(table) - set(kinds))
    if unknown:
        raise InvalidExperiment(f"{where} has an unknown key {unknown[0]!r}; known: {', '.join(kinds)}")
    missing = [key for key in kinds if key not in table and key not in optional]
    if missing:
        raise InvalidExperiment(f"{where} has no {missing[0]!r}; add it")
    taken: dict[str, Any] = {}
    for key, found in table.items():
        kind = kinds[key]
        value: Any = _as_moment(found) if kind is datetime else found
        if not _is_kind(value, kind):
            raise InvalidExperiment(f"{where}: {key} is {value!r}, must be {_KIND_NAMES[kind]}")  # type: ignore[index]
        taken[key] = float(value) if kind is float else value
    return taken


def _is_kind(value: object, kind: Callable[..., Any]) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind)  # type: ignore[arg-type]


def _as_moment(value: object) -> object:
    """A bare date is its midnight in UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), tzinfo=UTC)
    return value
