"""What a consumer tells Prometheus: the only file here that knows its client.

Percentiles are not computed here: histograms have fixed buckets, and whoever
reads several consumers adds buckets and never averages percentiles.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from .batching import Worked
from .freshness import Arrival
from .lag import PartitionLag

PREFIX = "uniecs_stream_"
FRESHNESS = PREFIX + "freshness_seconds"
# From what nobody notices to what a shop calls broken.
FRESHNESS_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
STAGE_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class ConsumerMetrics:
    """The figures of one consumer, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._messages = Counter(
            PREFIX + "messages",
            "Messages worked off, by what became of each.",
            ["outcome"],
            registry=self.registry,
        )
        self._freshness = Histogram(
            FRESHNESS,
            "From the change at its source until a search can find it.",
            ["outcome"],
            buckets=FRESHNESS_BUCKETS_S,
            registry=self.registry,
        )
        self._batch = Histogram(
            PREFIX + "batch_messages", "Messages per batch.", buckets=BATCH_BUCKETS, registry=self.registry
        )
        self._stage = Histogram(
            PREFIX + "stage_seconds",
            "How long a batch spent in each stage.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=self.registry,
        )
        where = ["topic", "partition"]
        self._acknowledged = Gauge(
            PREFIX + "acknowledged_offset",
            "The offset this consumer acknowledged last.",
            where,
            registry=self.registry,
        )
        self._lag = Gauge(
            PREFIX + "lag_messages",
            "Messages that the group has not acknowledged; every consumer tells all partitions.",
            where,
            registry=self.registry,
        )
        self._progress = Gauge(
            PREFIX + "last_progress_timestamp_seconds",
            "When a batch was acknowledged last.",
            registry=self.registry,
        )
        self._stalled = Gauge(
            PREFIX + "stalled_partitions",
            "Partitions of this consumer that stand still with work.",
            registry=self.registry,
        )
        self._reachable = Gauge(
            PREFIX + "log_reachable", "1 while the broker answers, else 0.", registry=self.registry
        )

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Count what became searchable, and how fresh it was."""
        for one in arrivals:
            self._messages.labels(one.outcome).inc()
            self._freshness.labels(one.outcome).observe(max(0, one.freshness_ms) / 1000)

    def worked(self, worked: Worked, *, at_s: float) -> None:
        """Note a batch; `at_s` is seconds since 1970."""
        self._batch.observe(worked.messages)
        for stage, seconds in worked.stages_s.items():
            self._stage.labels(stage).observe(seconds)
        for partition, offset in worked.offsets.items():
            self._acknowledged.labels(partition.topic, str(partition.index)).set(offset)
        if worked.offsets:
            self._progress.set(at_s)

    def lagged(self, lags: Sequence[PartitionLag], *, stalled: int) -> None:
        """Note how far the group is behind and how many of our partitions stand still."""
        self._reachable.set(1)
        self._stalled.set(stalled)
        for one in lags:
            self._lag.labels(one.partition.topic, str(one.partition.index)).set(one.behind)

    def unreachable(self) -> None:
        """Note that the broker did not answer; what was told of the lag stays."""
        self._reachable.set(0)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of one outcome: how many, and the bounds of the buckets where half and 99% of them lie."""

    outcome: str
    count: int
    half_within_s: float
    most_within_s: float


def freshness_spread(text: str) -> list[Spread]:
    """What a consumer's figures say about freshness, per outcome; bounds of buckets, no guesses."""
    buckets: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == FRESHNESS + "_bucket":
                buckets[sample.labels["outcome"]].append((float(sample.labels["le"]), sample.value))
    return [
        Spread(
            outcome=outcome,
            count=int(max(count for _, count in held)),
            half_within_s=_within(held, 0.5),
            most_within_s=_within(held, 0.99),
        )
        for outcome, held in sorted(buckets.items())
    ]


def _within(held: Sequence[tuple[float, float]], share: float) -> float:
    total = max(count for _, count in held)
    return min(bound for bound, count in held if count >= share * total)
