"""Tables made by lot, and the command that compares them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from experiments.__main__ import app
from experiments.errors import ExperimentsError
from experiments.tables.comparing import compare_table
from experiments.tables.formula import read_formulas

Columns = Mapping[str, Any]


def shoppers(units: int, *, seed: int, lift: float = 0.0, variants: str = "AB") -> dict[str, NDArray[Any]]:
    """Uneven shoppers: searches, clicks, revenue with whales, and what they did before."""
    rng = np.random.default_rng(seed)
    variant = rng.choice(list(variants), units)
    treated = variant != variants[0]
    before = rng.gamma(2, 5, units)
    searches = 1 + rng.geometric(0.15, units)
    buys = rng.random(units) < 0.2
    return {
        "variant": variant,
        "before": before,
        "searches": searches,
        "clicks": rng.binomial(searches, 0.9 * rng.beta(0.6, 2.4, units) * (1 + lift * treated)),
        "revenue": np.where(buys, rng.lognormal(3, 1, units), 0) + 2 * before,
        "bought": buys.astype(int),
    }


def write_csv(path: Path, columns: Columns, *, mark: str = ",", bom: bool = False) -> Path:
    """A CSV of columns of equal length."""
    rows = zip(*columns.values(), strict=True)
    lines = [mark.join(columns), *(mark.join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig" if bom else "utf-8")
    return path


def compare(source: Path | object, *metrics: str, **options: Any) -> dict[str, Any]:
    """Compare B (and others) with A."""
    wanted = {name: options.pop(name, ()) for name in ("covariates", "caps", "lower_is_better")}
    return compare_table(
        source,
        **{"variant": "variant", "control": "A", "formulas": read_formulas(metrics, **wanted)} | options,
    )


def command(file: Path, *arguments: str) -> tuple[Result, dict[str, Any]]:
    """Run `compare FILE ... --json` as a shell would, and read strict JSON."""
    done = CliRunner().invoke(
        app, ["compare", str(file), "--variant", "variant", "--control", "A", "--json", *arguments]
    )
    if done.exception is not None and not isinstance(done.exception, ExperimentsError | SystemExit):
        raise done.exception
    return done, json.loads(done.stdout, parse_constant=refuse) if done.exit_code == 0 else {}


def refuse(constant: str) -> float:
    """NaN and Infinity are no JSON."""
    raise AssertionError(constant)
