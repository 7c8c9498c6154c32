"""How each release does: answers, degraded and failed ones, latency. For Prometheus and for the heartbeat, from which
the guard decides on a canary. Event-loop local, no lock on the request path.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from model_repository.traffic import LATENCY_BOUNDS_S, Tally
from orchestrator.metrics import REGISTRY

NAMES = (*map(str, LATENCY_BOUNDS_S), "+Inf")


class LiveTally:
    """One release's counts, since this process first answered with it."""

    __slots__ = ("degraded", "failed", "latency", "made", "seconds")

    def __init__(self) -> None:
        self.made = 0  # answers with its items, whomever the user was assigned to
        self.degraded = 0
        self.failed = 0
        self.latency = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.seconds = 0.0

    def answered(self, seconds: float, degraded: bool) -> None:
        """An answer to a user who was assigned to the release; `degraded` when the release fell short."""
        self.latency[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.seconds += seconds
        self.degraded += degraded

    def frozen(self) -> Tally:
        """The counts as the heartbeat carries them."""
        answers = sum(self.latency)
        return Tally(answers=answers, degraded=self.degraded, failed=self.failed, latency=tuple(self.latency))


class Tallies(Collector):
    """The tallies by release number."""

    def __init__(self) -> None:
        self._live: dict[int, LiveTally] = {}

    def of(self, release: int) -> LiveTally:
        """The release's tally, a new one where there is none."""
        return self._live.setdefault(release, LiveTally())

    def keep(self, releases: Collection[int]) -> None:
        """Forget the others: a label for each release that ever was would grow for ever."""
        self._live = {number: tally for number, tally in self._live.items() if number in releases}

    def frozen(self) -> dict[int, Tally]:
        """All of them, for the heartbeat."""
        return {number: tally.frozen() for number, tally in self._live.items()}

    def collect(self) -> Iterable[Metric]:
        """What a scrape shows."""
        answers = CounterMetricFamily(
            "release_answers", "Answers by release and how they came out", labels=("model_version", "outcome")
        )
        latency = HistogramMetricFamily(
            "release_latency_seconds", "Time of whole answers by release", labels=("model_version",)
        )
        made = CounterMetricFamily(
            "model_predictions", "Recommendations by the release that made them", labels=("model_version",)
        )
        for number, live in self._live.items():
            tally, version = live.frozen(), str(number)
            made.add_metric((version,), live.made)
            outcomes = {"full": tally.answers - tally.degraded, "degraded": tally.degraded, "failed": tally.failed}
            for outcome, count in outcomes.items():
                answers.add_metric((version, outcome), count)
            buckets = list(zip(NAMES, map(float, accumulate(tally.latency)), strict=True))
            latency.add_metric((version,), buckets, live.seconds)
        yield made
        yield answers
        yield latency


TALLIES = Tallies()
REGISTRY.register(TALLIES)
