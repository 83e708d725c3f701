"""A product changes: within seconds the index knows.

events        bytes on the topic to a ProductChange and back
debezium      rows of a table to changes, by a mapping of columns
batching      by size or deadline, the latest per product
worker        poll -> decode -> batch -> apply -> commit, in this order
applying      one change that cannot be used does not stop the others
late_writes   what was perhaps written after our share was given away is put right
patience      slow work and absent stores without losing the membership
dead_letters  what cannot be read is set aside with its reason
archive       exposures and outcomes to Parquet by day, of topics or JSON Lines; compaction joins small files
lookout       /metrics and /healthz on loopback, from metrics and stalls
change_log    the roles of the log: a member of a group, a reader, a sink
kafka         the Kafka client in those roles; nothing else here knows it
in_memory     their twins, for tests
build         the one place that chooses implementations
"""
