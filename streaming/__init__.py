"""A product changes: within seconds the index knows.

events        bytes on the topic to a ProductChange and back
debezium      rows of a table to changes, by a mapping of columns
batching      by size or deadline, the latest per product
worker        poll -> decode -> batch -> apply -> commit, in this order
patience      slow work and absent stores without losing the membership
dead_letters  what cannot be read is set aside with its reason
archive       exposures and outcomes to Parquet by day, of topics or JSON Lines; compaction joins small files
lookout       /metrics and /healthz on loopback, from metrics and stalls
kafka         the Kafka client; nothing else here knows it
build         the one place that chooses implementations
"""
