"""The one query: logs in, one row per unit and week out.

Written for DuckDB over two views, `exposure_log` and `outcome_log`, with the
columns of `Exposure` and `Outcome`. All times are whole microseconds and all
sums of money and time decimals, so that the answer does not depend on the
order in which rows are read.
"""

# Parameters: $experiment, $start_us, $until_us, $every_us, $attribution_us, $before_us, $variants.
EXPOSURES = """
CREATE TEMP TABLE exposure AS
SELECT event_id,
       min(unit_id) AS unit_id,
       min(variant) AS variant,
       min(reason) AS reason,
       min(query_id) AS query_id,
       min(query_kind) AS query_kind,
       min(CASE WHEN trim(query) <> '' THEN hash(lower(trim(query))) END) AS query,
       min(epoch_us(occurred_at)) AS at_us,
       CASE WHEN bool_or(degraded) THEN 1 ELSE 0 END AS degraded,
       CASE WHEN max(len(served)) > 0 THEN 0 ELSE 1 END AS empty,
       bool_or(triggered) AS triggered,
       CAST(min(CASE WHEN isfinite(latency_ms) THEN latency_ms END) AS DECIMAL(18, 3)) AS latency_ms,
       count(*) AS copies,
       -- Told once more when the page that was not served is known: not a fault.
       CASE WHEN count(triggered) > 0 AND count(triggered) < count(*) THEN 1 ELSE 0 END AS told_again
FROM exposure_log
WHERE experiment = $experiment
GROUP BY event_id
"""

SEARCHES = """
CREATE TEMP TABLE search AS
SELECT *
FROM exposure
WHERE reason = 'assigned' AND at_us >= $start_us AND at_us < $until_us AND list_contains($variants, variant)
"""

EXPOSURE_FATES = """
SELECT CASE WHEN at_us < $start_us OR at_us >= $until_us THEN 'outside_window'
            WHEN reason <> 'assigned' THEN 'other_reason'
            WHEN NOT list_contains($variants, variant) THEN 'unplanned_variant'
            ELSE 'counted'
       END AS fate,
       CASE WHEN reason <> 'assigned' THEN reason ELSE variant END AS name,
       count(*)
FROM exposure
GROUP BY ALL
ORDER BY ALL
"""

# A unit that was served two variants is in neither.
UNITS = """
CREATE TEMP TABLE unit AS
SELECT unit_id, min(variant) AS variant, count(DISTINCT variant) > 1 AS crossed
FROM search
GROUP BY unit_id
"""

# Each outcome meets the last search of its unit before it, and belongs to the search of
# its query where it names one, else to that last one.
OUTCOMES = """
CREATE TEMP TABLE outcome AS
WITH once AS (
    SELECT event_id,
           min(kind) AS kind,
           min(unit_id) AS unit_id,
           min(epoch_us(occurred_at)) AS at_us,
           CAST(min(revenue) AS DECIMAL(38, 6)) AS revenue,
           min(currency) AS currency,
           min(query_id) AS query_id,
           min(product_id) AS product_id,
           count(*) AS copies
    FROM outcome_log
    GROUP BY event_id
), met AS (
    SELECT once.*, last_search.at_us AS search_us,
           coalesce(same_query.event_id, last_search.event_id) AS search_id
    FROM once
    ASOF LEFT JOIN (
        SELECT unit_id, at_us, max(event_id) AS event_id FROM search GROUP BY unit_id, at_us
    ) AS last_search
        ON once.unit_id = last_search.unit_id AND once.at_us >= last_search.at_us
    LEFT JOIN (
        SELECT unit_id, query_id, max(event_id) AS event_id FROM search
        WHERE query_id <> '' GROUP BY unit_id, query_id
    ) AS same_query
        ON once.unit_id = same_query.unit_id AND once.query_id = same_query.query_id
)
SELECT met.*,
       CASE WHEN met.at_us < $start_us OR met.at_us >= $until_us THEN 'outside_window'
            WHEN unit.unit_id IS NULL THEN 'without_exposure'
            WHEN met.search_us IS NULL THEN 'before_exposure'
            WHEN met.at_us - met.search_us > $attribution_us THEN 'too_late'
            WHEN unit.crossed THEN 'of_crossed_units'
            ELSE 'counted'
       END AS fate
FROM met LEFT JOIN unit ON met.unit_id = unit.unit_id
"""

# Sorted, so that what is computed from it adds in one order.
UNIT_WEEKS = """
CREATE TEMP TABLE unit_week AS
WITH deed AS (
    SELECT unit_id, at_us,
           1 AS searches, empty AS empty_searches, degraded AS degraded_searches,
           coalesce(latency_ms, 0) AS latency_ms,
           0 AS clicks, 0 AS add_to_carts, 0 AS orders, CAST(0 AS DECIMAL(38, 6)) AS revenue
    FROM search
    UNION ALL
    SELECT unit_id, at_us, 0, 0, 0, 0,
           CASE WHEN kind = 'click' THEN 1 ELSE 0 END,
           CASE WHEN kind = 'add_to_cart' THEN 1 ELSE 0 END,
           CASE WHEN kind = 'order' THEN 1 ELSE 0 END,
           CASE WHEN kind = 'order' THEN coalesce(revenue, 0) ELSE 0 END
    FROM outcome
    WHERE fate = 'counted'
)
SELECT unit.variant, deed.unit_id, (deed.at_us - $start_us) // $every_us AS week,
       sum(searches) AS searches, sum(empty_searches) AS empty_searches,
       sum(degraded_searches) AS degraded_searches, sum(latency_ms) AS latency_ms,
       sum(clicks) AS clicks, sum(add_to_carts) AS add_to_carts, sum(orders) AS orders,
       sum(revenue) AS revenue
FROM deed JOIN unit ON deed.unit_id = unit.unit_id
WHERE NOT unit.crossed
GROUP BY unit.variant, deed.unit_id, week
ORDER BY unit.variant, deed.unit_id, week
"""

# What was there before the start, where the archive goes back that far; one row per unit of the experiment.
UNITS_BEFORE = """
CREATE TEMP TABLE unit_before AS
WITH deed AS (
    SELECT unit_id, 1 AS searches, 0 AS clicks, 0 AS orders, CAST(0 AS DECIMAL(38, 6)) AS revenue
    FROM exposure
    WHERE at_us >= $start_us - $before_us AND at_us < $start_us
    UNION ALL
    SELECT unit_id, 0, CASE WHEN kind = 'click' THEN 1 ELSE 0 END,
           CASE WHEN kind = 'order' THEN 1 ELSE 0 END,
           CASE WHEN kind = 'order' THEN coalesce(revenue, 0) ELSE 0 END
    FROM outcome
    WHERE at_us >= $start_us - $before_us AND at_us < $start_us
)
SELECT deed.unit_id, sum(searches) AS searches, sum(clicks) AS clicks, sum(orders) AS orders,
       sum(revenue) AS revenue
FROM deed JOIN unit ON deed.unit_id = unit.unit_id
WHERE NOT unit.crossed
GROUP BY deed.unit_id
"""

# Everybody who was ever assigned, crossed or not, in the variant that came first.
ASSIGNED = """
SELECT variant, count(*) FROM (
    SELECT unit_id, min_by(variant, (at_us, event_id)) AS variant FROM search GROUP BY unit_id
) GROUP BY variant
"""

# Quantiles as `quantile_cont` tells them, of latencies in hundredths of a millisecond: it would hold
# every search in memory, this only the latencies there are.
ARMS = """
WITH latency AS (
    SELECT unit.variant, round(CAST(latency_ms AS DOUBLE), 2) AS ms,
           count(*) AS searches, count(triggered) AS asked, sum(CAST(triggered AS INTEGER)) AS triggered
    FROM search JOIN unit ON search.unit_id = unit.unit_id
    WHERE NOT unit.crossed
    GROUP BY ALL
), placed AS (
    SELECT *, CASE WHEN ms IS NOT NULL THEN
               sum(searches) OVER (PARTITION BY variant, ms IS NULL ORDER BY ms) END AS upto,
           sum(searches) FILTER (WHERE ms IS NOT NULL) OVER (PARTITION BY variant) - 1 AS last
    FROM latency
), met AS (
    SELECT variant,
           min(ms) FILTER (WHERE upto > floor(0.5 * last)) AS half_low,
           min(ms) FILTER (WHERE upto > ceil(0.5 * last)) AS half_high,
           any_value(0.5 * last - floor(0.5 * last)) AS half_part,
           min(ms) FILTER (WHERE upto > floor(0.95 * last)) AS most_low,
           min(ms) FILTER (WHERE upto > ceil(0.95 * last)) AS most_high,
           any_value(0.95 * last - floor(0.95 * last)) AS most_part,
           sum(triggered) / nullif(sum(asked), 0) AS triggered
    FROM placed
    GROUP BY variant
)
SELECT variant, half_low + (half_high - half_low) * half_part, most_low + (most_high - most_low) * most_part,
       triggered
FROM met
"""

SEARCHES_PER_DAY = """
SELECT (at_us - $start_us) // 86400000000 AS day, search.variant, count(*)
FROM search JOIN unit ON search.unit_id = unit.unit_id
WHERE NOT unit.crossed
GROUP BY ALL
"""
