"""Interleaved pages to votes: whose products each unit clicked.

The credit of `credit`, in SQL on the tables that `warehouse` has made: a click
counts for the search that it names, a product once, by what the page says of
its place. Nothing is kept of a unit but its vote.
"""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.errors import InvalidData

from .moment_query import Rows

TEAMS = ("base", "recall", "both", "neither")

# More ways to have been found than this and the table says nothing.
MOST_WAYS = 8

# The first two places, one of each ranking: only a coin says which comes first, whatever the design.
MIXED = """
CREATE TEMP TABLE mixed AS
WITH page AS (
    SELECT event_id, min(teams) AS teams, min(team_weights) AS weights, max(len(served)) AS places
    FROM exposure_log WHERE experiment = $experiment AND len(teams) > 0 GROUP BY event_id
)
SELECT search.event_id, search.unit_id, search.query_id, unit.variant,
       (search.at_us - $start_us) // $every_us AS week, teams, weights,
       len(teams) = len(weights) AND len(teams) <= places AS whole,
       CASE WHEN teams[1] || teams[2] IN ('baserecall', 'recallbase') THEN teams[1] END AS opens
FROM search JOIN page ON search.event_id = page.event_id JOIN unit ON search.unit_id = unit.unit_id
WHERE NOT unit.crossed
"""

CLICKED = """
CREATE TEMP TABLE mixed_click AS
WITH click AS (
    SELECT DISTINCT unit_id, query_id, product_id FROM outcome
    WHERE fate = 'counted' AND kind = 'click' AND query_id IS NOT NULL AND product_id IS NOT NULL
), clicked AS (
    SELECT mixed.*, product_id FROM mixed
    JOIN click ON mixed.unit_id = click.unit_id AND mixed.query_id = click.query_id WHERE whole
), page AS (
    SELECT event_id, min([it.product_id FOR it IN served]) AS products,
           min([array_to_string(list_sort(list_distinct(it.channels)), ' and ') FOR it IN served]) AS ways
    FROM exposure_log WHERE experiment = $experiment AND event_id IN (SELECT event_id FROM clicked)
    GROUP BY event_id
), placed AS (
    SELECT clicked.*, ways, coalesce(list_position(products, product_id), 0) AS place
    FROM clicked JOIN page ON clicked.event_id = page.event_id
)
SELECT unit_id, variant, week, place BETWEEN 1 AND len(teams) AS on_page,
       teams[place] AS team, ways[place] AS way, CAST(weights[place] AS DECIMAL(18, 6)) AS weight,
       CASE WHEN team IN ('base', 'both') THEN weight ELSE 0 END AS base,
       CASE WHEN team IN ('recall', 'both') THEN weight ELSE 0 END AS recall
FROM placed
"""

VOTES = """
WITH gap AS (
    SELECT variant, unit_id, sum(recall) - sum(base) AS gap, sum(recall) + sum(base) AS credit
    FROM mixed_click WHERE on_page AND week <= {week} GROUP BY variant, unit_id
), seen AS (
    SELECT variant, count(DISTINCT unit_id) AS units FROM mixed WHERE whole AND week <= {week}
    GROUP BY variant
)
SELECT seen.variant, units, count(*) FILTER (WHERE gap > 0), count(*) FILTER (WHERE gap < 0),
       count(*) FILTER (WHERE gap = 0 AND credit > 0)
FROM seen LEFT JOIN gap ON seen.variant = gap.variant
GROUP BY seen.variant, units ORDER BY seen.variant
"""

_SHOWN = ", ".join(f"sum(len([it FOR it IN teams IF it = '{team}']))" for team in TEAMS)
PAGES = f"""
SELECT variant, count(*), count(*) FILTER (WHERE NOT whole), count(*) FILTER (WHERE opens = 'base' AND whole),
       count(*) FILTER (WHERE opens = 'recall' AND whole), {_SHOWN}
FROM mixed GROUP BY variant ORDER BY variant
"""  # noqa: S608 - names of our own

CLICKS = """
SELECT variant, team, count(*), sum(base), sum(recall) FROM mixed_click WHERE on_page
GROUP BY variant, team ORDER BY variant, team
"""

WAYS = """
SELECT variant, way, count(*) AS clicks, sum(base), sum(recall) FROM mixed_click WHERE on_page
GROUP BY variant, way ORDER BY variant, clicks DESC, way
"""

STRAYS = "SELECT variant, count(*) FROM mixed_click WHERE NOT on_page GROUP BY variant ORDER BY variant"


def scan_mixed(run: Callable[..., Any], rows: Rows, *, looks: int) -> dict[str, dict[str, Any]]:
    """What the interleaved pages of each variant came to; nothing for a variant that has none.

    Args:
        run: a statement.
        rows: of a query.
        looks: how many there are so far; votes are counted as of each.
    """
    types: dict[str, str] = dict(rows("SELECT column_name, column_type FROM (DESCRIBE exposure_log)"))
    for name in ("teams", "team_weights"):
        if name not in types:  # an archive from before there were such pages
            return {}
        if not types[name].endswith("[]"):
            raise InvalidData(
                f"exposures: column {name!r} is {types[name]}, must be a list; archive them again"
            )
    run(MIXED)
    pages = {variant: numbers for variant, *numbers in rows(PAGES)}
    if not pages:
        return {}
    run(CLICKED)
    strays: dict[str, int] = dict(rows(STRAYS))
    clicks = {(variant, team): numbers for variant, team, *numbers in rows(CLICKS)}
    ways: dict[str, list[dict[str, Any]]] = {}
    for variant, way, *numbers in rows(WAYS):
        if len(ways.setdefault(variant, [])) < MOST_WAYS:
            ways[variant].append({"found_by": way or "", **_earned(numbers)})
    votes = [
        {variant: numbers for variant, *numbers in rows(VOTES.format(week=week))} for week in range(looks)
    ]
    return {
        variant: {
            "pages": count,
            "broken_pages": broken,
            "opens": {"base": base_first, "recall": recall_first},
            "teams": [
                {"team": team, "places": int(places or 0), **_earned(clicks.get((variant, team), (0, 0, 0)))}
                for team, places in zip(TEAMS, shown, strict=True)
            ],
            "ways": ways.get(variant, []),
            "strays": strays.get(variant, 0),
            "looks": [_votes(look.get(variant, (0, 0, 0, 0))) for look in votes],
        }
        for variant, (count, broken, base_first, recall_first, *shown) in pages.items()
    }


def _earned(numbers: Any) -> Mapping[str, float]:
    clicks, base, recall = numbers
    return {"clicks": int(clicks), "base": float(base), "recall": float(recall)}


def _votes(numbers: Any) -> Mapping[str, int]:
    units, wins, losses, ties = numbers
    return {"units": units, "wins": wins, "losses": losses, "ties": ties}
