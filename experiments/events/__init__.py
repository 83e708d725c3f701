"""The road of an event out of a request that must not wait.

event_json      what an event is as a line
event_ring      bounded, drops and counts, writes in the background
json_lines_log  its end in files
kafka_log       its end in Kafka
ubi             the same events in OpenSearch's words
"""
