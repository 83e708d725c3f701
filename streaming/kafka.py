"""Kafka, for the rest of the room: the only file here that knows its client."""


def broker_answers(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker at the address describes its cluster within the time."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(timeout_s * 1000))
    except (KafkaError, OSError, ValueError):
        return False
    try:
        return bool(admin.describe_cluster())
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()
