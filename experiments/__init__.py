"""The evidence: who gets what, what was served, what it did, and whether to believe it.

definition    an experiment as written down before it starts
assignment    the variant a unit always gets (pure)
flags         OpenFeature in front of assignment
exposure      the events: a unit was served; what it did next
kafka_log     the events' road to Kafka
warehouse     logs to one row per unit (DuckDB)
metrics       what is measured, per unit
inference     differences, intervals, p-values
trust         may these numbers be believed at all
report        the weekly page
"""
