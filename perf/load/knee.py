"""The knee: the highest rate that is answered in time, without failures and by the full path.

A server with a deadline answers anything in time, from a lower rung: what is degraded would have been late, so no
more of it is allowed than p99 allows late answers.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count

from perf.load.drive import drive
from perf.load.outcome import LATE_MS, LIMIT_MS, Outcome, quantile
from perf.load.schedule import OpenLoop
from perf.load.target import Target

ANSWERED = 0.98
FAILED = 0.001
DEGRADED = 0.01
FIRST = OpenLoop(rate=50)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One open-loop run: intended rate, requests per second due and answered, latencies in ms, shares in trouble."""

    rate: float
    offered: float
    answered: float
    p50_ms: float
    p99_ms: float
    failed: float = 0.0
    degraded: float = 0.0
    generator_lag_ms: float = 0.0

    def holds(self, limit_ms: float) -> bool:
        """p99 within the limit, at least 98 % answered, at most 0.1 % failed, at most 1 % degraded."""
        healthy = self.failed <= FAILED and self.degraded <= DEGRADED
        return self.p99_ms <= limit_ms and self.answered >= ANSWERED * self.offered and healthy


@dataclass(frozen=True, kw_only=True, slots=True)
class Knee:
    """The highest rate that held, 0 if none did, and every probe in the order it was made."""

    rate: float
    limit_ms: float
    probes: tuple[Probe, ...]

    @property
    def generator_late(self) -> bool:
        """Whether a failing probe may be the generator's own fault."""
        return any(p.generator_lag_ms > LATE_MS and not p.holds(self.limit_ms) for p in self.probes)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        probes = [
            {name: round(value, 4) for name, value in asdict(probe).items()} | {"holds": probe.holds(self.limit_ms)}
            for probe in self.probes
        ]
        return {
            "knee_per_second": round(self.rate, 1), "limit_ms": self.limit_ms,
            "generator_late": self.generator_late, "probes": probes,
        }  # fmt: skip


def find_knee(
    target: Target, limit_ms: float = LIMIT_MS, first: OpenLoop = FIRST, told: Callable[[Probe], None] = lambda _: None
) -> Knee:
    """Probe `first`, then the same at other rates and with other seeds; `told` hears each. Raises PerfError."""
    seeds = count(first.seed)

    def probe(rate: float) -> Probe:
        made = probe_of(rate, drive(target, replace(first, rate=rate, seed=next(seeds))))
        told(made)
        return made

    return search(probe, limit_ms=limit_ms, start=first.rate)


def probe_of(rate: float, outcome: Outcome) -> Probe:
    """The figures of a run that decide."""
    latency = outcome.latency_ms
    return Probe(
        rate=rate, offered=outcome.offered_per_second, answered=outcome.answered_per_second,
        p50_ms=quantile(latency, 0.5), p99_ms=quantile(latency, 0.99),
        failed=outcome.failed_share, degraded=outcome.degraded_share, generator_lag_ms=outcome.generator_lag_ms,
    )  # fmt: skip


def search(
    probe: Callable[[float], Probe],
    *,
    limit_ms: float = LIMIT_MS,
    start: float = FIRST.rate,
    growth: float = 2.0,
    precision: float = 0.05,
    lowest: float = 1.0,
) -> Knee:
    """Grow from `start` until a rate fails, or shrink until one holds; bisect until the two are `precision` apart.

    A rate fails when it does so twice in a row: one hiccup of the machine decides nothing.
    """
    probes: list[Probe] = []

    def holds(rate: float) -> bool:
        for _ in range(2):
            probes.append(probe(rate))
            if probes[-1].holds(limit_ms):
                return True
        return False

    low, high = _bracket(holds, start, growth, lowest)
    while low and high / low > 1 + precision:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Knee(rate=low, limit_ms=limit_ms, probes=tuple(probes))


def _bracket(holds: Callable[[float], bool], start: float, growth: float, lowest: float) -> tuple[float, float]:
    """A rate that holds (0 if not even `lowest` does) and a higher one that fails."""
    if holds(start):
        low = start
        while holds(low * growth):
            low *= growth
        return low, low * growth
    high = start
    while high / growth >= lowest:
        if holds(high / growth):
            return high / growth, high
        high /= growth
    return 0.0, high
