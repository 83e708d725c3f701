"""The broker itself: whether it answers, and the topics it has."""

from collections.abc import Sequence

from .dead_letters import MOST_BYTES, SUFFIX
from .errors import LogUnavailable, Refused
from .kafka_client import METADATA_TIMEOUT_MS, THERE_ALREADY, Connection, administering


def ensure_topics(connection: Connection, names: Sequence[str], *, partitions: int) -> list[str]:
    """Make the topics that are missing, one copy each, and return their names.

    A production cluster's topics are better made by whoever runs it: those that
    exist are left as they are.

    Raises:
        LogUnavailable: the broker did not answer.
        Refused: this client may not.
    """
    made = []
    with administering(connection) as admin:
        there = set(admin.list_topics())
        for name in dict.fromkeys(names):
            if name in there:
                continue
            configs = {"max.message.bytes": str(MOST_BYTES)} if name.endswith(SUFFIX) else {}
            topic = {"num_partitions": partitions, "replication_factor": -1, "configs": configs}
            try:
                admin.create_topics({name: topic}, timeout_ms=METADATA_TIMEOUT_MS, wait_for_metadata=True)
            except THERE_ALREADY:
                continue
            made.append(name)
    return made


def broker_answers(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker at the address describes its cluster within the time."""
    connection = {"bootstrap_servers": bootstrap.split(","), "bootstrap_timeout_ms": int(timeout_s * 1000)}
    try:
        with administering(connection) as admin:
            return bool(admin.describe_cluster())
    except (LogUnavailable, Refused):
        return False
