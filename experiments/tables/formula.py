"""Metrics written on one line: `ctr=ratio(clicks,searches)`.

mean(col)          the mean over units
ratio(num,den)     total over total, with the variance of the units (delta method)
proportion(col)    the share of units that have any; exact where they are rare
quantile(col,0.95) the value below which that share of rows lies

A covariate is something known of the unit before the experiment, a cap is a
value or a quantile that no unit's total may exceed; both are declared beside
the metric, never chosen by its result.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from experiments.errors import InvalidData

Kind = Literal["mean", "ratio", "proportion", "quantile"]

_SHAPE = re.compile(r"\s*(?P<kind>[a-z]+)\s*\((?P<inside>[^()]*)\)\s*")
_WRITTEN = {
    "mean": "mean(col)",
    "ratio": "ratio(num,den)",
    "proportion": "proportion(col)",
    "quantile": "quantile(col,0.95)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """One metric of a table.

    Attributes:
        column: what is averaged, or the numerator.
        below: the denominator of a ratio.
        quantile: which one, of a quantile.
        covariate: one column, or numerator and denominator; empty without.
        cap: below 1 a quantile of the units that have any, pooled over variants; else a value.
        good: which direction is wanted.
    """

    name: str
    kind: Kind
    column: str
    below: str | None = None
    quantile: float | None = None
    covariate: tuple[str, ...] = ()
    cap: float | None = None
    good: Literal["up", "down"] = "up"

    def __post_init__(self) -> None:
        if self.cap is not None and self.kind != "mean":
            raise InvalidData(f"metric {self.name!r}: only a mean can be capped, this is a {self.kind}")
        if self.cap is not None and not (0.5 <= self.cap < 1 or 1 <= self.cap < float("inf")):
            raise InvalidData(
                f"metric {self.name!r}: cap is {self.cap}; give a quantile in [0.5, 1) or a value from 1 up"
            )
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise InvalidData(f"metric {self.name!r}: quantile is {self.quantile}, must be between 0 and 1")
        if {self.column, self.below} & set(self.covariate):
            raise InvalidData(
                f"metric {self.name!r}: {self.column!r} cannot be its own covariate; name a column of before"
            )
        if self.covariate and self.kind not in ("mean", "ratio"):
            raise InvalidData(f"metric {self.name!r}: a {self.kind} takes no covariate; means and ratios do")

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's columns it needs, covariates last."""
        return (self.column, *((self.below,) if self.below else ()), *self.covariate)

    def __str__(self) -> str:
        inside = [self.column, self.below, self.quantile]
        return f"{self.kind}({','.join(str(part) for part in inside if part is not None)})"


def read_formulas(
    metrics: Sequence[str],
    *,
    covariates: Sequence[str] = (),
    caps: Sequence[str] = (),
    lower_is_better: Sequence[str] = (),
) -> list[Formula]:
    """Metrics as typed, each `NAME=formula`, with their covariates and caps as `NAME=...`.

    >>> [str(formula) for formula in read_formulas(["ctr=ratio(clicks,searches)", "rev=mean(revenue)"])]
    ['ratio(clicks,searches)', 'mean(revenue)']

    Raises:
        InvalidData: a line that cannot be read, or that names a metric twice or none.
    """
    if not metrics:
        raise InvalidData("no metric; give at least one, for example --metric 'ctr=ratio(clicks,searches)'")
    named = [_named(text, "metric", "ctr=ratio(clicks,searches)") for text in metrics]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise InvalidData(f"metric {name!r} is given twice; give each its own name")
    beside = _by_metric(covariates, "covariate", "revenue=revenue_before", names)
    limits = _by_metric(caps, "cap", "revenue=0.999", names)
    strangers = [name for name in lower_is_better if name not in names]
    if strangers:
        raise InvalidData(f"no metric {strangers[0]!r} to be lower; there are {', '.join(names)}")
    return [
        _formula(
            name,
            text,
            covariate=_covariate(name, beside[name]) if name in beside else (),
            cap=_number(f"cap of {name!r}", limits[name]) if name in limits else None,
            good="down" if name in lower_is_better else "up",
        )
        for name, text in named
    ]


def _formula(
    name: str, text: str, *, covariate: tuple[str, ...], cap: float | None, good: Literal["up", "down"]
) -> Formula:
    kind, parts = _split(name, text)
    if kind not in _WRITTEN:
        raise InvalidData(f"metric {name!r}: no formula {kind!r}; there are {', '.join(_WRITTEN.values())}")
    wanted = 2 if kind in ("ratio", "quantile") else 1
    if len(parts) != wanted or not all(parts):
        raise InvalidData(f"metric {name!r}: {text.strip()!r} must be like {_WRITTEN[kind]}")
    return Formula(
        name=name,
        kind=cast("Kind", kind),
        column=parts[0],
        below=parts[1] if kind == "ratio" else None,
        quantile=_number(f"quantile of {name!r}", parts[1]) if kind == "quantile" else None,
        covariate=covariate,
        cap=cap,
        good=good,
    )


def _covariate(name: str, text: str) -> tuple[str, ...]:
    """A column, `mean(col)`, or `ratio(num,den)`."""
    if not _SHAPE.fullmatch(text):
        return (text.strip(),)
    kind, parts = _split(name, text)
    if (kind, len(parts)) not in (("mean", 1), ("ratio", 2)):
        raise InvalidData(f"covariate of {name!r}: {text!r} must be a column or ratio(num,den)")
    return tuple(parts)


def _split(name: str, text: str) -> tuple[str, list[str]]:
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise InvalidData(
            f"metric {name!r}: {text.strip()!r} cannot be read; write {', '.join(_WRITTEN.values())}"
        )
    return shape["kind"], [part.strip() for part in shape["inside"].split(",")]


def _named(text: str, what: str, example: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise InvalidData(f"{what} {text!r} must be NAME=..., for example '{example}'")
    return name.strip(), rest


def _by_metric(texts: Sequence[str], what: str, example: str, names: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, rest = _named(text, what, example)
        if name not in names:
            raise InvalidData(f"{what} {text!r}: no metric {name!r}; there are {', '.join(names)}")
        if name in found:
            raise InvalidData(f"{what} of {name!r} is given twice; give one")
        found[name] = rest
    return found


def _number(what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidData(f"{what} is {text.strip()!r}, must be a number") from error
