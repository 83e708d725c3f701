"""The evidence: who gets what, what was served, what it did, and whether to believe it.

experiment    one experiment as written down before it starts
definition    the experiments that are defined, from files
running       what is running moves nobody
assignment    the variant a unit always gets (pure)
targeting     who an experiment is for
growthbook    another vendor's buckets, for units it has seen
overrides     a tester's signed token
credit        whose products were clicked on an interleaved page
flags         OpenFeature in front of assignment
exposure      the events: a unit was served; what it did next (ubi: in OpenSearch's words)
event_ring    the events' road out of a request that must not wait
kafka_log     its end in Kafka (json_lines_log: in files)
planning      a definition from a few words (plan_files writes and signs it)
signing       what was signed before the start, held against what is there now
unit_query    the one query: logs to one row per unit (part_query cuts them finer)
dialects      the same for Spark, by SQLGlot
warehouse     runs it (DuckDB; part_scan the finer cuts, moment_query the moments)
metrics       what is kept of the logs: moments and counts (buckets: by hash, to be split again)
inference     differences, intervals, p-values
sequential    how strict a look must be
trust         may these numbers be believed at all (trust_cuts, trust_numbers)
verdict       ship, hold, stop or broken
audit         a bootstrap over buckets, held against the formulas
findings      what explains a result and decides nothing:
              triggers, attribution, novelty, clusters (by the delta method: delta), outlook, bayes
analysis      all of it, as plain JSON
report        the weekly page (plots, templates; report_text for Markdown and Slack)
weekly        from logs to the page, for a schedule or a command

And for any table, without a definition:

formula       metrics written on one line
table         a table to moments per variant (table_input its door, table_moments its one pass, quantiles)
adjustment    CUPED: what was there before, taken out
exact         rare counts
table_trust   the same questions, as far as a table can answer
comparing     all of it, as plain JSON (comparison_text for a terminal)
"""
