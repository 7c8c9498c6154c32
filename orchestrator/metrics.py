"""Every metric, by name, in one place. Labels hold our own words only, never text of a user.

Prometheus's own idiom: module-level metrics in one registry. `child` finds a labelled child in a fraction of the time
`labels` takes, which matters on the request path.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from feature_repo.schema import SCHEMA
from model_repository.traffic import LATENCY_BOUNDS_S

LATENCY_BUCKETS_S = (0.0005, *LATENCY_BOUNDS_S)  # stages are shorter than whole answers
AGE_BUCKETS_S = (60.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0, 48 * 3600.0, 7 * 24 * 3600.0)
FEATURE_OF = [f.name for f in SCHEMA.group("user") for _ in range(f.width)]  # by column of the user array
REGISTRY = CollectorRegistry()


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


REQUESTS = _counter("recommendation_requests", "Answers by endpoint and HTTP status", "endpoint", "status")
DEGRADED = _counter("recommendation_degraded", "Degraded answers by rung and reason", "level", "reason")
CACHE = _counter("cache_lookups", "Cache look-ups by cache and result", "cache", "result")
DROPPED = _counter("log_dropped", "Log entries and background writes that were dropped", "kind", "reason")
SPILLED = _counter("log_spilled", "Log entries that went to the local file because Redis did not take them", "kind")
REPLAYED = _counter("log_replayed", "Log entries that came from the local file to Redis later", "kind")
EVENTS = _counter("recommendation_events", "Events by type and what became of them", "event_type", "result")
BROKEN = _counter("stored_values_broken", "Stored values that could not be used as they are", "kind")
IMPUTED = _counter("feature_values_imputed", "Values of user rows that were not finite, by feature", "feature")
TRAFFIC_REFUSED = _counter("traffic_records_refused", "Traffic records that were not followed, by reason", "reason")
FUTURE_ROWS = _counter("feature_age_negative", "User rows computed later than now, by our clock")
FEATURE_AGE = Histogram(
    "feature_age_seconds", "Age of the user row of each request", buckets=AGE_BUCKETS_S, registry=REGISTRY
)
TRAFFIC_SEQUENCE = Gauge("traffic_sequence", "Sequence of the traffic record that is followed", registry=REGISTRY)
TRAFFIC_AGE = Gauge("traffic_confirmed_age_seconds", "Since Redis last confirmed the traffic record", registry=REGISTRY)
OVERLAY_POSITION = Gauge("overlay_position", "Batches of the overlay that are followed", registry=REGISTRY)
OVERLAY_AGE = Gauge("overlay_confirmed_age_seconds", "Since Redis last confirmed the overlay", registry=REGISTRY)
WITHDRAWN = Gauge("items_withdrawn", "Items that the overlay calls out of stock or unsafe", registry=REGISTRY)
LIMITED = Gauge("items_with_regions", "Items whose regions the overlay changed", registry=REGISTRY)
IN_FLIGHT = Gauge("recommendations_in_flight", "Requests being answered", registry=REGISTRY)


class StageHistogram(Collector):
    """A histogram by stage that costs the request path a bisection and two additions; prometheus_client's own
    takes a lock for each bucket it passes. Event-loop local."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(bounds)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, stage: str, seconds: float) -> None:
        """Add one observation."""
        if stage not in self._counts:
            self._counts[stage] = [0] * (len(self._bounds) + 1)
            self._sums[stage] = 0.0
        self._counts[stage][bisect_left(self._bounds, seconds)] += 1
        self._sums[stage] += seconds

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a scrape shows: cumulative buckets and the sum."""
        family = HistogramMetricFamily(self._name, self._text, labels=("stage",))
        names = [*map(str, self._bounds), "+Inf"]
        for stage, counts in self._counts.items():
            buckets = list(zip(names, map(float, accumulate(counts)), strict=True))
            family.add_metric((stage,), buckets, self._sums[stage])
        yield family


LATENCY = StageHistogram("recommendation_latency_seconds", "Time of each stage", LATENCY_BUCKETS_S)
REGISTRY.register(LATENCY)


@lru_cache(maxsize=4096)
def child(metric: Counter, *labels: str) -> Any:
    """The metric's child with these label values."""
    return metric.labels(*labels)


def looked_up(cache: str, hit: bool) -> None:
    """Count one cache look-up."""
    child(CACHE, cache, "hit" if hit else "miss").inc()


def imputed(columns: Iterable[int]) -> None:
    """Count, by feature, a user row's values that were replaced; columns of the user array."""
    for name in {FEATURE_OF[column] for column in columns}:
        child(IMPUTED, name).inc()


def feature_age(seconds: float) -> None:
    """Observe the age of a row; one from the future counts as new and is counted apart."""
    if seconds < 0:
        FUTURE_ROWS.inc()
    FEATURE_AGE.observe(max(0.0, seconds))


def exposition() -> bytes:
    """Everything in Prometheus's text format."""
    return generate_latest(REGISTRY)
