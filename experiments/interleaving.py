"""Interleaving: one list from two rankers, and which of them shoppers clicked.

Each unit has one vote, however much it clicks: the ranker with more credit
over all its searches. Votes are held against a coin by the exact binomial
test; units with equal credit abstain and are counted.
"""

from pathlib import Path
from typing import Any

from .errors import InvalidData
from .inference import ALPHA
from .tables.table_input import open_table
from .votes import preference
from .warehouse import connect


def compare_interleaved(
    source: Path | object, *, unit: str, ours: str, theirs: str, alpha: float = ALPHA
) -> dict[str, Any]:
    """Which of two rankers is preferred.

    Args:
        source: a table of searches: the unit, and the credit of each ranker in that list.
        unit: the column of the unit.
        ours: the column of the credit of the ranker that might be better.
        theirs: the column of the other's.
        alpha: the interval holds the truth 1 - alpha of the time.

    Raises:
        InvalidData: the table cannot be read, or nobody preferred either.
    """
    if not 0 < alpha < 1:
        raise InvalidData(f"alpha is {alpha}, must be between 0 and 1, for example 0.05")
    with connect("the table") as connection:
        open_table(connection, source, variant=unit, unit=unit, segments=(), numbers=(ours, theirs))
        searches, units, wins, losses = connection.execute(
            "SELECT coalesce(sum(seen), 0), count(*), count(*) FILTER (WHERE gap > 0),"
            " count(*) FILTER (WHERE gap < 0) FROM"
            " (SELECT sum(coalesce(n0, 0)) - sum(coalesce(n1, 0)) AS gap, count(*) AS seen"
            "  FROM cell GROUP BY u)"
        ).fetchone()
    if not wins + losses:
        raise InvalidData(f"none of {units:,} units gave {ours!r} and {theirs!r} different credit")
    found = preference(wins, losses, alpha=alpha)
    preferred = ours if wins > losses else theirs
    clear = found["p_value"] <= alpha
    return {
        "schema_version": 1,
        "units": units,
        "searches": int(searches),
        "wins": wins,
        "losses": losses,
        "ties": units - wins - losses,
        **found,
        "preferred": preferred if clear else None,
        "headline": f"{preferred} is preferred" if clear else "neither is clearly preferred",
        "alpha": alpha,
    }
