"""Declared segments: each unit in one cell, by its first search, before anything can have an effect.

A segment is one of `KNOWN`, or any column of text or yes and no that a shop's
own archive adds to its exposures. What is in neither is not cut, and the page
says so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.metrics import Moments

from .moment_query import Rows, moments_by

# What a unit's first search tells, and how.
KNOWN: Mapping[str, str] = {
    "query_kind": "first_search.query_kind",
    "query_fame": "fame.fame",
    "script": r"""CASE WHEN regexp_matches(shown.query, '[\p{Hiragana}\p{Katakana}]') THEN 'Japanese'
        WHEN regexp_matches(shown.query, '\p{Hangul}') THEN 'Korean'
        WHEN regexp_matches(shown.query, '\p{Han}') THEN 'Chinese'
        WHEN regexp_matches(shown.query, '\p{Latin}') THEN 'Latin'
        WHEN trim(shown.query) = '' THEN 'no words' ELSE 'other' END""",
    "visitor": "CASE WHEN unit_before.unit_id IS NULL THEN 'new' ELSE 'returning' END",
}

# More values than this and a table says nothing; the smaller ones are one cell.
MOST_CELLS = 12
OTHERS, UNKNOWN = "others", "unknown"

_PLAIN = ("VARCHAR", "BOOLEAN")


def scan_segments(
    run: Callable[..., Any], rows: Rows, names: Sequence[str], columns: Sequence[str]
) -> dict[str, dict[str, Moments]]:
    """Cuts `segment:NAME=VALUE`, by variant, of the table `unit_row`; none for what is not in the logs."""
    types: dict[str, str] = dict(rows("SELECT column_name, column_type FROM (DESCRIBE exposure_log)"))
    wanted = [name for name in names if name in KNOWN or types.get(name, "") in _PLAIN]
    if not wanted:
        return {}
    of_log = [name for name in wanted if name not in KNOWN]
    told = "".join(
        f", min(CAST({_quoted('exposure_log', name)} AS VARCHAR)) AS {_named(name)}" for name in of_log
    )
    cells = "".join(
        f", coalesce(nullif({KNOWN.get(name, _quoted('shown', name))}, ''), '{UNKNOWN}') AS {_named(name)}"
        for name in wanted
    )
    run(
        "CREATE TEMP TABLE unit_segment AS WITH opening AS"  # noqa: S608 - names from the definition, quoted
        " (SELECT unit_id, min_by(event_id, (at_us, event_id)) AS event_id FROM search GROUP BY unit_id),"
        f" shown AS (SELECT event_id, min(query) AS query{told} FROM exposure_log"
        "  WHERE experiment = $experiment AND event_id IN (SELECT event_id FROM opening) GROUP BY event_id)"
        f" SELECT opening.unit_id{cells} FROM opening"
        " JOIN search AS first_search ON opening.event_id = first_search.event_id"
        " JOIN shown ON opening.event_id = shown.event_id"
        " LEFT JOIN fame ON first_search.query = fame.query"
        " LEFT JOIN unit_before ON opening.unit_id = unit_before.unit_id"
    )
    cuts: dict[str, dict[str, Moments]] = {}
    for name in wanted:
        cut = _quoted("unit_segment", name)
        kept = [
            value
            for (value,) in rows(
                f"SELECT {cut} AS cell FROM unit_row JOIN unit_segment"  # noqa: S608 - a quoted name
                " ON unit_row.unit_id = unit_segment.unit_id"
                f" GROUP BY cell ORDER BY count(*) DESC, cell LIMIT {MOST_CELLS}"
            )
        ]
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in kept)
        relation = (
            f"(SELECT unit_row.*, CASE WHEN {cut} IN ({listed}) THEN {cut} ELSE '{OTHERS}' END AS cell"  # noqa: S608
            " FROM unit_row JOIN unit_segment ON unit_row.unit_id = unit_segment.unit_id"
            " ORDER BY unit_row.variant, unit_row.unit_id) AS of_segment"
        )
        for (cell, variant), found in moments_by(rows, relation, columns, by=("cell", "variant")).items():
            cuts.setdefault(f"segment:{name}={cell}", {})[variant] = found
    return cuts


def _quoted(table: str, column: str) -> str:
    return f"{table}.{_named(column)}"


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
