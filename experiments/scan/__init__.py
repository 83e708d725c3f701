"""The one scan of the logs: one row per unit, then moments that can be added up.

unit_query    logs to one row per unit
part_query    the same, cut by day, by kind of query, by channel (part_scan runs it)
segment_scan  the same, cut by the declared segments
mixed_scan    interleaved pages to votes
moment_query  rows to moments
buckets       moments by a hash of the unit, to be split again
dialects      the same queries for Spark, by SQLGlot
"""
