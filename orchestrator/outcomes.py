"""Online figures of what was recommended: CTR, CVR, engagement, revenue and eCPM of the last hour, by release and arm.

Words are those of the design: CTR is impressions with a click or stronger / impressions, CVR purchased / clicked,
engagement impressions with any event / impressions, eCPM revenue per 1000 impressions. An event counts where its item
was shown to its user (`orchestrator.attribution`), each kind once an item; it counts in the minute it came in, for the
arm its user is in. Revenue is in the catalogue's currency.

Gauges are of this process: what it answered and what was reported to it. Behind a balancer sum the counters of all
of them instead. Event-loop local; memory grows with releases that carry traffic, not with users.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.deadline import Clock
from orchestrator.metrics import REGISTRY

LABELS = ("model_version", "variant")
WINDOW_S, SLICE_S = 3600.0, 60.0
SLICES = int(WINDOW_S / SLICE_S)
GAUGES = {
    "recommendation_ctr": "Impressions with a click or stronger / impressions, last hour",
    "recommendation_cvr": "Purchased / clicked, last hour",
    "recommendation_engagement": "Impressions with any event / impressions, last hour",
    "recommendation_revenue_usd": "Revenue of purchases of shown items, last hour, in the catalogue's currency",
    "recommendation_ecpm_usd": "That revenue per 1000 impressions",
}


@dataclass(slots=True)
class Count:
    """Impressions and what came of them."""

    shown: float = 0.0
    engaged: float = 0.0
    clicked: float = 0.0
    purchased: float = 0.0
    revenue: float = 0.0

    def add(self, other: "Count") -> None:
        """Add another's numbers."""
        self.shown += other.shown
        self.engaged += other.engaged
        self.clicked += other.clicked
        self.purchased += other.purchased
        self.revenue += other.revenue

    def gauges(self) -> tuple[float, ...]:
        """In the order of GAUGES; not a number where there is nothing to divide by."""
        ctr, engagement, ecpm = (ratio(part, self.shown) for part in (self.clicked, self.engaged, 1000 * self.revenue))
        return ctr, ratio(self.purchased, self.clicked), engagement, self.revenue, ecpm


def ratio(part: float, whole: float) -> float:
    """part / whole."""
    return part / whole if whole else float("nan")


class Arm:
    """One release and variant: everything since the start, and the last hour in slices."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slices: deque[tuple[int, Count]] = deque(maxlen=SLICES)
        self.ever = Count()

    def add(self, count: Count) -> None:
        """Count now."""
        number = int(self._clock() / SLICE_S)
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append((number, Count()))
        self._slices[-1][1].add(count)
        self.ever.add(count)

    def lately(self) -> Count:
        """The last hour's."""
        oldest, total = int(self._clock() / SLICE_S) - SLICES, Count()
        for number, count in self._slices:
            if number > oldest:
                total.add(count)
        return total


class Outcomes(Collector):
    """Arms by (model_version, variant)."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._arms: dict[tuple[str, str], Arm] = {}

    def add(self, version: str, variant: str, count: Count) -> None:
        """Count for an arm of ours; the labels are never a client's text."""
        arm = self._arms.get((version, variant))
        if arm is None:
            arm = self._arms[version, variant] = Arm(self._clock)
        arm.add(count)

    def keep(self, releases: Iterable[int]) -> None:
        """Forget other releases: labels must not grow for ever."""
        versions = {str(number) for number in releases}
        self._arms = {labels: arm for labels, arm in self._arms.items() if labels[0] in versions}

    def collect(self) -> Iterable[Metric]:
        """What a scrape shows."""
        gauges = [GaugeMetricFamily(name, text, labels=LABELS) for name, text in GAUGES.items()]
        shown = CounterMetricFamily("recommendation_impressions", "Items shown", labels=LABELS)
        acted = CounterMetricFamily(
            "recommendation_outcomes", "Impressions engaged with, clicked, purchased", labels=(*LABELS, "outcome")
        )
        earned = CounterMetricFamily("recommendation_earned_usd", "Revenue of purchases of shown items", labels=LABELS)
        for labels, arm in self._arms.items():
            for gauge, value in zip(gauges, arm.lately().gauges(), strict=True):
                gauge.add_metric(labels, value)
            impressions, engaged, clicked, purchased, revenue = astuple(arm.ever)
            shown.add_metric(labels, impressions)
            earned.add_metric(labels, revenue)
            for outcome, value in (("engaged", engaged), ("clicked", clicked), ("purchased", purchased)):
                acted.add_metric((*labels, outcome), value)
        yield from (*gauges, shown, acted, earned)


OUTCOMES = Outcomes()
REGISTRY.register(OUTCOMES)
