"""The same units cut finer: by whether the page changed, by channel, by age, by kind of query.

Read off the tables of `unit_query`; every outcome belongs to a search, so the
parts of a cut add up to the whole. Counts are whole numbers and money is
decimal until a unit's row is complete.
"""

from collections.abc import Sequence
from itertools import pairwise

BASE = "base"  # the host's own search, in every variant

# A product that several channels found is split evenly between them: 2520 divides by 1 to 10.
SHARE = 2_520

AGE_EDGES = (0, 1, 2, 4, 7, 14, 28)  # days since a unit's first search

# Whether every variant's searches carry the trigger themselves. A control that is never triggered does not
# know, and one that knows of a sample only would be cut otherwise than treatment.
BOTH_KNOW = """
SELECT coalesce(bool_or(variant = $control AND triggered), false)
       AND 100 * count(triggered) >= 99 * count(*)
FROM search
"""

# One-sided: what treatment's pages say of a query holds for control's searches of it. Only queries that
# every variant was asked count, so that both sides are chosen alike.
LABELS = """
CREATE TEMP TABLE label AS
WITH most AS (
    SELECT query, variant, 2 * count(*) FILTER (WHERE triggered) >= count(*) AS changed
    FROM search
    WHERE triggered IS NOT NULL AND query IS NOT NULL AND variant <> $control
    GROUP BY query, variant
), shared AS (
    SELECT query FROM search WHERE query IS NOT NULL GROUP BY query
    HAVING count(DISTINCT variant) = len($variants)
)
SELECT most.query, bool_or(changed) AS changed FROM most JOIN shared ON most.query = shared.query
GROUP BY most.query
"""

# Head, torso and tail: a third of all searches each, by how many units asked, variants pooled.
FAMES = """
CREATE TEMP TABLE fame AS
WITH asked AS (
    SELECT query, count(DISTINCT unit_id) AS units, count(*) AS searches
    FROM search WHERE query IS NOT NULL GROUP BY query
), ranked AS (
    SELECT query, sum(searches) OVER (ORDER BY units DESC, query) - searches AS before,
           sum(searches) OVER () AS whole
    FROM asked
)
SELECT query, CASE WHEN 3 * before < whole THEN 'head' WHEN 3 * before < 2 * whole THEN 'torso'
              ELSE 'tail' END AS fame
FROM ranked
"""

FOUND = """
CREATE TEMP TABLE found AS
WITH wanted AS (
    SELECT DISTINCT search_id FROM outcome WHERE fate = 'counted' AND product_id IS NOT NULL
), shown AS (
    SELECT event_id, unnest(served) AS product
    FROM exposure_log JOIN wanted ON event_id = search_id
    WHERE experiment = $experiment
), once AS (
    SELECT event_id, product.product_id AS product_id,
           min(list_sort(list_distinct(product.channels))) AS channels
    FROM shown GROUP BY event_id, product.product_id
)
SELECT outcome.event_id, outcome.unit_id, kind, revenue, channels
FROM outcome JOIN once ON outcome.search_id = once.event_id AND outcome.product_id = once.product_id
WHERE fate = 'counted' AND len(channels) > 0
"""

CHANNELS = "SELECT DISTINCT unnest(channels) FROM found ORDER BY ALL"

COHORT = """
CREATE TEMP TABLE cohort AS
SELECT search.unit_id, any_value(unit.variant) AS variant, min(at_us) AS first_us
FROM search JOIN unit ON search.unit_id = unit.unit_id
WHERE NOT unit.crossed
GROUP BY search.unit_id
HAVING min(at_us) <= $until_us - $horizon_us
"""


def placed(*, two_sided: bool) -> str:
    """Each search with its stratum and its cluster."""
    known = "coalesce(search.triggered, label.changed)" if two_sided else "label.changed"
    return f"""
CREATE TEMP TABLE placed AS
SELECT search.event_id, search.unit_id, search.at_us, unit.variant,
       CASE WHEN {known} THEN 'changed' WHEN NOT {known} THEN 'same' ELSE 'unknown' END AS stratum,
       query_kind || CASE WHEN fame IS NULL THEN '' ELSE ', ' || fame END AS cluster
FROM search JOIN unit ON search.unit_id = unit.unit_id
     LEFT JOIN label ON search.query = label.query LEFT JOIN fame ON search.query = fame.query
WHERE NOT unit.crossed
"""  # noqa: S608 - one of two expressions of our own


STRATA = ("changed", "same", "unknown")


def unit_parts(channels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The table `unit_part`, one row per unit, and its columns."""
    names = [f"{what}_{stratum}" for stratum in STRATA for what in ("searches", "clicks")]
    by_stratum = ", ".join(
        f"count(*) FILTER (WHERE stratum = '{stratum}' AND {what}) AS {name}_{stratum}"
        for stratum in STRATA
        for what, name in (("is_search", "searches"), ("is_click", "clicks"))
    )
    credits, via = [], []
    for number, channel in enumerate(channels):
        quoted = "'" + channel.replace("'", "''") + "'"
        mine = (
            f"CASE WHEN list_contains(channels, '{BASE}') THEN {SHARE if channel == BASE else 0}"
            f" WHEN list_contains(channels, {quoted}) THEN {SHARE} // len(channels) ELSE 0 END"
        )
        credits += [
            f"sum(CASE WHEN kind = 'click' THEN {mine} ELSE 0 END) / {SHARE} AS clicks_via_{number}",
            f"sum(CASE WHEN kind = 'order' THEN coalesce(revenue, 0) * ({mine}) ELSE 0 END) / {SHARE}"
            f" AS revenue_via_{number}",
        ]
        via += [f"clicks_via_{number}", f"revenue_via_{number}"]
    shares = "".join(f", coalesce({name}, 0) AS {name}" for name in via)
    of_channels = ", ".join(["unit_id", *credits])
    return (
        f"""
CREATE TEMP TABLE unit_part AS
WITH deed AS (
    SELECT unit_id, stratum, true AS is_search, false AS is_click FROM placed
    UNION ALL
    SELECT outcome.unit_id, stratum, false, kind = 'click'
    FROM outcome JOIN placed ON outcome.search_id = placed.event_id WHERE fate = 'counted'
), split AS (
    SELECT unit_id, {by_stratum},
           CASE WHEN bool_or(stratum = 'changed') THEN 'changed'
                WHEN bool_or(stratum = 'unknown') THEN 'unknown' ELSE 'same' END AS class
    FROM deed GROUP BY unit_id
), credit AS (
    SELECT {of_channels} FROM found GROUP BY unit_id
)
SELECT split.*{shares} FROM split LEFT JOIN credit ON split.unit_id = credit.unit_id
""",  # noqa: S608 - columns of our own naming, channels quoted
        (*names, *via),
    )


def unit_ages(edges: Sequence[int]) -> tuple[str, tuple[str, ...]]:
    """The table `unit_age` of the cohort, and its columns: searches and clicks by age."""
    day = 86_400_000_000
    parts, names = [], []
    for first, last in pairwise(edges):
        inside = f"age >= {first * day} AND age < {last * day}"
        for what, flag in (("searches", "is_search"), ("clicks", "is_click")):
            parts.append(f"count(*) FILTER (WHERE {flag} AND {inside}) AS {what}_{first}")
            names.append(f"{what}_{first}")
    return (
        f"""
CREATE TEMP TABLE unit_age AS
WITH deed AS (
    SELECT placed.unit_id, placed.at_us - first_us AS age, true AS is_search, false AS is_click
    FROM placed JOIN cohort ON placed.unit_id = cohort.unit_id
    UNION ALL
    SELECT outcome.unit_id, placed.at_us - first_us, false, kind = 'click'
    FROM outcome JOIN placed ON outcome.search_id = placed.event_id
         JOIN cohort ON outcome.unit_id = cohort.unit_id
    WHERE fate = 'counted'
)
SELECT cohort.variant, deed.unit_id, {", ".join(parts)}
FROM deed JOIN cohort ON deed.unit_id = cohort.unit_id
GROUP BY cohort.variant, deed.unit_id
ORDER BY cohort.variant, deed.unit_id
""",  # noqa: S608 - numbers of our own
        tuple(names),
    )


UNIT_CLUSTERS = """
CREATE TEMP TABLE unit_cluster AS
WITH deed AS (
    SELECT unit_id, variant, cluster, 1 AS searches, 0 AS clicks FROM placed
    UNION ALL
    SELECT outcome.unit_id, variant, cluster, 0, CASE WHEN kind = 'click' THEN 1 ELSE 0 END
    FROM outcome JOIN placed ON outcome.search_id = placed.event_id WHERE fate = 'counted'
)
SELECT variant, cluster, unit_id, CAST(sum(searches) AS DOUBLE) AS searches,
       CAST(sum(clicks) AS DOUBLE) AS clicks
FROM deed GROUP BY variant, cluster, unit_id
ORDER BY variant, cluster, unit_id
"""
