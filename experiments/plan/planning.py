"""A definition from a few words: salts drawn, looks laid out, and how large a lift it can show.

Writes the TOML that `definition` reads; whoever wants more than this writes the
file by hand and signs it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from experiments.errors import InvalidExperiment
from experiments.experiment import COLUMNS, SLOTS

_FORMULA = re.compile(r"(?P<kind>mean|ratio)\((?P<inside>[^()]*)\)(?:@(?P<margin>[0-9.]+))?")
# Three letters and no vowel: ctr, cvr, gmv. Two may be a unit, such as ms.
_INITIALS = re.compile(r"[^\W\d_aeiouy]{3,}")


def draw_definition(
    name: str,
    *,
    hypothesis: str,
    start: datetime,
    salts: tuple[str, str],
    primaries: Sequence[str],
    secondaries: Sequence[str] = (),
    guardrails: Sequence[str] = (),
    caps: Mapping[str, float] | None = None,
    channels: Sequence[str] = (),
    merge: str = "append",
    treated: float = 0.5,
    traffic: float = 1.0,
    looks: int = 4,
    every_days: int = 7,
    attribution_days: int = 7,
    layer: str = "recall",
    unit: str = "shopper",
) -> str:
    """The definition as TOML.

    Args:
        name: of the experiment.
        hypothesis: what is believed, and why.
        start: when the first unit is served.
        salts: the layer's and the experiment's, 16 random hex digits each.
        primaries: metrics that decide, as `ctr=ratio(clicks,searches)` or `spend=mean(revenue)`.
        secondaries: metrics that explain.
        guardrails: metrics that must not get worse by more than a share, as `searches=mean(searches)@0.05`.
        caps: by metric, the quantile above which a unit counts as that.
        channels: of the treatment; control has none.
        merge: how the treatment joins lists.
        treated: the share of units that get the treatment.
        traffic: the share of units that take part.
        looks: how often it is looked at.
        every_days: between two looks.
        attribution_days: how long after a search an outcome counts.
        layer: experiments of one layer never share a unit.
        unit: who is randomised.

    Raises:
        InvalidExperiment: a metric cannot be read.
    """
    listed = ", ".join(_text(channel) for channel in channels)
    metrics = [
        _metric(line, role, caps or {})
        for role, lines in (("primary", primaries), ("secondary", secondaries), ("guardrail", guardrails))
        for line in lines
    ]
    known = [line.partition("=")[0].strip() for line in (*primaries, *secondaries)]
    strangers = sorted(set(caps or {}) - set(known))
    if strangers:
        raise InvalidExperiment(f"a cap for {strangers[0]!r}: no such metric; there are {', '.join(known)}")
    day = start.isoformat().replace("+00:00", "Z")
    return f"""# Signed by its hash: everything here but `traffic` is fixed once the experiment has started.
name = {_text(name)}
hypothesis = {_text(hypothesis)}
unit = {_text(unit)}
phase = "1"
start = {day}
control = "control"
traffic = {traffic}
salt = "{salts[1]}"

[layer]
name = {_text(layer)}
salt = "{salts[0]}"
slots = [[0, {SLOTS}]]

[looks]
planned = {looks}
every_days = {every_days}

[attribution]
days = {attribution_days}

[variants.control]
share = {_rest(treated)}
plan = {{ channels = [], merge = {_text(merge)} }}

[variants.treatment]
share = {treated}
plan = {{ channels = [{listed}], merge = {_text(merge)} }}

{chr(10).join(metrics)}"""


def copy_definition(
    text: str, *, name: str, start: datetime, salts: tuple[str, str], hypothesis: str | None
) -> str:
    """A definition like another, comments and all: its name, start, salts and phase are new.

    Args:
        text: of the other, as TOML.
        name: of the new experiment.
        start: when its first unit is served.
        salts: the layer's and the experiment's, 16 random hex digits each.
        hypothesis: what is believed now; the other's where None.
    """
    day = start.isoformat().replace("+00:00", "Z")
    fresh = {"name": _text(name), "start": day, "salt": f'"{salts[1]}"', "phase": '"1"'}
    if hypothesis is not None:
        fresh["hypothesis"] = _text(hypothesis)
    lines, table = [], ""
    for line in text.splitlines():
        key = line.partition("=")[0].strip()
        if line.startswith("["):
            table = line.strip()
        elif not table and key in fresh:
            lines.append(f"{key} = {fresh[key]}")
            continue
        elif table == "[layer]" and key == "salt":
            lines.append(f'salt = "{salts[0]}"')
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _metric(line: str, role: str, caps: Mapping[str, float]) -> str:
    name, _, formula = (part.strip() for part in line.partition("="))
    shape = _FORMULA.fullmatch(formula.replace(" ", ""))
    parts = shape["inside"].split(",") if shape else []
    if shape is None or len(parts) != (2 if shape["kind"] == "ratio" else 1):
        raise InvalidExperiment(
            f"metric {line!r} cannot be read; write 'ctr=ratio(clicks,searches)' or 'spend=mean(revenue)',"
            f" of {', '.join(COLUMNS)}"
        )
    if (role == "guardrail") is not (shape["margin"] is not None):
        raise InvalidExperiment(
            f"metric {line!r}: a guardrail, and only one, has a margin, as 'searches=mean(searches)@0.05'"
        )
    shown = "percent" if len(parts) == 2 and "latency_ms" not in parts else "number"
    lines = [f"[metrics.{name}]", f"title = {_text(_title(name))}", f'role = "{role}"']
    lines.append(f'numerator = "{parts[0]}"')
    if len(parts) == 2:
        lines.append(f'denominator = "{parts[1]}"')
    if parts[0] in ("latency_ms", "empty_searches", "degraded_searches"):
        lines.append('good = "down"')
    lines.append(f'shown_as = "{"money" if parts[0] == "revenue" else shown}"')
    if name in caps:
        lines.append(f"cap_quantile = {caps[name]}")
    if shape["margin"] is not None:
        lines.append(f"margin = {shape['margin']}")
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    """A name as people read it: `add_to_cart` is "Add to cart", `ctr` "CTR"."""
    title = " ".join(word.upper() if _INITIALS.fullmatch(word) else word for word in name.split("_"))
    return title[:1].upper() + title[1:]


def _rest(treated: float) -> float:
    """What is left for control, as it would be written: 1 - 0.9 is 0.1."""
    return round(1 - treated, 12)


def _text(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\t", " ")
    return '"' + escaped + '"'
