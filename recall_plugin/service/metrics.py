"""What the service tells Prometheus: the only file of this room that knows its client."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX = "uniecs_recall_"
# From a cached answer to a funnel that gives up.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ServiceMetrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            PREFIX + "requests", "POST /recall, by HTTP status.", ["status"], registry=self.registry
        )
        self._requests = {status: requests.labels(str(status)) for status in (200, 422)}
        self._other_requests = requests
        self._seconds = Histogram(
            PREFIX + "request_seconds",
            "POST /recall, from its first byte to its answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._reloads = Counter(
            PREFIX + "reloads", "Reloads, by what became of each.", ["outcome"], registry=self.registry
        )
        self.ready = Gauge(PREFIX + "ready", "Whether /ready says so.", registry=self.registry)

    def answered(self, status: int, seconds: float) -> None:
        """One POST /recall."""
        counter = self._requests.get(status)
        (counter or self._other_requests.labels(str(status))).inc()
        self._seconds.observe(seconds)

    def reloaded(self, *, went_well: bool) -> None:
        """One reload."""
        self._reloads.labels("done" if went_well else "refused").inc()

    def watch(
        self, counts: Callable[[], Mapping[str, int]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        """Read these at each scrape: the plugin's own counts, and what is open just now."""
        self.registry.register(_Watched(counts, gauges))

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return bytes(generate_latest(self.registry))


class _Watched:
    def __init__(
        self, counts: Callable[[], Mapping[str, int]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        self._counts = counts
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            PREFIX + "events",
            "What went by: a channel's answers by status, dropped hits, late answers, lost events.",
            labels=["source", "event"],
        )
        for name, count in self._counts().items():
            source, _, event = name.rpartition(".")
            events.add_metric([source or "plugin", event], count)
        yield events
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(PREFIX + name, name.replace("_", " ") + ".", value=value)

    def describe(self) -> list[Metric]:
        return []
