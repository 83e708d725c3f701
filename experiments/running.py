"""The experiments as they may be served: what is running gives every unit the arm it had.

A changed salt, layer, share or rule of targeting would move units between arms
in the middle of a measurement. Held against the signed plan beside the
definition, and, at a reload, against what is being served.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from .definition import Experiments, load_experiments
from .errors import InvalidExperiment
from .experiment import Experiment
from .signing import Terms, read_record, terms_of

# What decides who gets which arm. The share of the traffic may be ramped.
_MOVES = ("salt", "layer", "hashing", "targeting", "unit", "control")


def load_running(
    folder: Path | None, *, now: datetime, before: Mapping[str, Experiment] | None = None
) -> Experiments:
    """The definitions, if none that is running moves a unit.

    Args:
        folder: of definitions; the packaged ones without.
        now: who has started by now is running.
        before: what is being served, at a reload.

    Raises:
        InvalidExperiment: a definition breaks a rule, or moves units of a running experiment.
    """
    experiments = load_experiments(folder)
    for experiment in experiments.values():
        record = read_record(experiment.name, folder)
        if record is not None:
            refuse_moves(record.terms, experiment, now=now)
        if before is not None and experiment.name in before:
            refuse_moves(terms_of(before[experiment.name]), experiment, now=now)
    return experiments


def refuse_moves(then: Terms, experiment: Experiment, *, now: datetime) -> None:
    """Refuse a definition that would move units of a running experiment; a new phase is another one.

    Raises:
        InvalidExperiment: naming what was changed, from what, to what.
    """
    terms = terms_of(experiment)
    if then["phase"] != terms["phase"] or now < datetime.fromisoformat(then["start"]):
        return
    changed = [name for name in _MOVES if name in then and then[name] != terms[name]]
    if not changed and _arms(then) != _arms(terms):
        raise InvalidExperiment(
            f"experiment {experiment.name!r} is running, and its shares were {_arms(then)}, are now"
            f" {_arms(terms)}: that moves units to another arm; restore them, or begin a new phase"
        )
    if changed:
        name = changed[0]
        raise InvalidExperiment(
            f"experiment {experiment.name!r} is running, and its {name} was {then[name]!r}, is now"
            f" {terms[name]!r}: that moves units to another arm; restore it, or begin a new phase"
        )


def _arms(terms: Terms) -> list[tuple[str, float]]:
    return [(variant["name"], variant["share"]) for variant in terms["variants"]]
