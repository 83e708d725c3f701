"""Quantiles of rows, with errors over units.

The share of rows below a quantile is a ratio over units, with its variance by
the delta method; one standard error of that share to either side, carried back
through the quantiles there, is the quantile's own error (Deng, Knoblich and Lu
2018). Rows of one unit need not be independent.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of one variant's rows."""

    rows: int
    value: float | None
    standard_error: float | None


def quantiles(connection: Any, cell: str, q: float, *, by_unit: bool) -> dict[str, Quantile]:
    """A quantile by variant, of a column of the view `cell`; units in two variants left out."""
    source = f"SELECT v, u, {cell} AS y FROM cell WHERE v IS NOT NULL AND {cell} IS NOT NULL"  # noqa: S608
    if by_unit:
        source += " AND u IN (SELECT u FROM cell WHERE v IS NOT NULL GROUP BY u HAVING min(v) = max(v))"
    who = "u" if by_unit else "row_number() OVER ()"
    rows = connection.execute(
        f"WITH value AS ({source}),"  # noqa: S608 - a column of our own naming
        f" spot AS (SELECT v, quantile_cont(y, {q!r}) AS middle FROM value GROUP BY v),"
        f" marked AS (SELECT value.v, {who} AS who, CASE WHEN y <= middle THEN 1.0 ELSE 0.0 END AS below"
        "  FROM value JOIN spot ON value.v = spot.v),"
        " total AS (SELECT v, who, CAST(sum(below) AS DOUBLE) AS below, CAST(count(*) AS DOUBLE) AS seen"
        "  FROM marked GROUP BY v, who)"
        " SELECT total.v, any_value(middle), CAST(sum(seen) AS BIGINT), count(*), favg(below), favg(seen),"
        " var_pop(below), covar_pop(below, seen), var_pop(seen)"
        " FROM total JOIN spot ON total.v = spot.v GROUP BY total.v ORDER BY total.v"
    ).fetchall()
    found: dict[str, Quantile] = {}
    for variant, value, count, units, below, seen, of_below, joint, of_seen in rows:
        share = below / seen
        spread = max(of_below - 2 * share * joint + share**2 * of_seen, 0.0)
        error = None
        if units > 1:
            reach = sqrt(spread / (units - 1)) / seen
            ends = [min(max(q + way * reach, 0.0), 1.0) for way in (-1, 1)]
            low, high = connection.execute(
                f"WITH value AS ({source}) SELECT"  # noqa: S608 - a column of our own naming
                f" quantile_cont(y, {ends[0]!r}), quantile_cont(y, {ends[1]!r}) FROM value WHERE v = $1",
                [variant],
            ).fetchone()
            error = (high - low) / 2
        found[variant] = Quantile(rows=count, value=value, standard_error=error)
    return found
