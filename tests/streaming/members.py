"""The group that each test of a real Kafka has for itself: its members, and how far it is behind."""

from typing import Any

from streaming.build import group_lag
from streaming.kafka import KafkaChangeLog


def joined(connection: dict[str, Any], topic: str, **options: Any) -> KafkaChangeLog:
    """One more member of the topic's group, with the shortest session that a broker allows."""
    return KafkaChangeLog(connection, [topic], group=f"group-{topic}", session_timeout_s=6.0, **options)


def behind(connection: dict[str, Any], topic: str) -> int:
    """How many messages of the topic its group has not acknowledged."""
    return sum(one.behind for one in group_lag(connection, [topic], group=f"group-{topic}"))
