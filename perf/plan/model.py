"""Queueing formulas, pure: waiting in front of one or many servers, and the latency of a path of such stations.

    Erlang C          P(wait) of M/M/c: Kleinrock, Queueing Systems I (1975), §3.5; by Erlang B's recursion
    Allen–Cunneen     mean wait of G/G/c ≈ M/M/c's × (ca² + cs²)/2: Allen, Probability, Statistics and Queueing Theory
                      (2nd ed., 1990); exact for M/M/c, and for M/G/1, where it is Pollaczek–Khinchine's
    tail              a wait that happens is exponential: exact for M/M/c, the heavy-traffic limit of G/G/c
                      (Kingman, The single server queue in heavy traffic, 1961; Kleinrock II, 1976, ch. 2)
    path              stations in a row are independent (Kleinrock, Communication Nets, 1964); the distribution of the
                      sum is sampled, because the p99 of a sum is not the sum of the p99s

Rates are requests per second, times are milliseconds, `scv` is variance ÷ mean² of a time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SAMPLES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """`servers` equal servers behind one queue; a visit takes `service_ms` on average and is paid by `share` of all
    requests. `fixed_ms` passes without occupying anything: a network hop."""

    name: str
    service_ms: float
    servers: int = 1
    scv: float = 1.0
    arrivals_scv: float = 1.0
    share: float = 1.0
    fixed_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise ValueError(f"{self.name}: servers is {self.servers}, must be at least 1")
        if not all(0 <= a < math.inf for a in (self.service_ms, self.scv, self.arrivals_scv, self.fixed_ms)):
            raise ValueError(f"{self.name}: times and their spread must be finite and not negative")
        if not 0 <= self.share <= 1:
            raise ValueError(f"{self.name}: share is {self.share}, must be in [0, 1]")

    def offered(self, rate: float) -> float:
        """Servers kept busy (Erlangs) by `rate` requests/s on the path."""
        return rate * self.share * self.service_ms / 1000

    def utilisation(self, rate: float) -> float:
        """Share of the servers' time that is used; 1 or more has no steady state."""
        return self.offered(rate) / self.servers

    def saturation(self) -> float:
        """Requests/s on the path at which every server is busy all the time."""
        return self.servers / self.offered(1.0) if self.offered(1.0) else float("inf")

    def wait_ms(self, rate: float) -> float:
        """Mean wait before service (Allen–Cunneen); infinite at or above saturation."""
        if not self.offered(rate):
            return 0.0
        if self.utilisation(rate) >= 1:
            return float("inf")
        waiting = erlang_c(self.servers, self.offered(rate))
        spread = (self.arrivals_scv + self.scv) / 2
        return spread * waiting * self.service_ms / (self.servers - self.offered(rate))

    def sample_ms(self, rate: float, rng: np.random.Generator, count: int) -> Floats:
        """`count` times spent here, waiting included [count]. Raises ValueError at or above saturation."""
        times = self.sample_wait_ms(rate, rng, count) + gamma(self.service_ms, self.scv, rng, count)
        return np.where(rng.random(count) < self.share, times + self.fixed_ms, 0.0)

    def sample_wait_ms(self, rate: float, rng: np.random.Generator, count: int) -> Floats:
        """`count` waits in front of the servers [count]. Raises ValueError at or above saturation."""
        if self.utilisation(rate) >= 1:
            raise ValueError(f"{self.name} saturates at {self.saturation():.0f} requests/s, asked for {rate:.0f}")
        mean = self.wait_ms(rate)
        if not mean:
            return np.zeros(count)
        waiting = erlang_c(self.servers, self.offered(rate))
        return np.where(rng.random(count) < waiting, rng.exponential(mean / waiting, count), 0.0)


def erlang_b(servers: int, offered: float) -> float:
    """P(all of `servers` busy) with `offered` Erlangs and no queue, by the recursion B(n) = a·B(n−1)/(n + a·B(n−1))."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked


def erlang_c(servers: int, offered: float) -> float:
    """P(an arrival waits) of M/M/c: c·B / (c − a·(1 − B)). 1 at or above saturation."""
    if offered >= servers:
        return 1.0
    blocked = erlang_b(servers, offered)
    return servers * blocked / (servers - offered * (1 - blocked))


def gamma(mean: float, scv: float, rng: np.random.Generator, count: int) -> Floats:
    """Times with the given mean and scv [count]: a gamma distribution, a constant for scv 0."""
    if not mean or not scv:
        return np.full(count, float(mean))
    return rng.gamma(1 / scv, mean * scv, count)


def path_ms(stations: Sequence[Station], rate: float, seed: int = 0, count: int = SAMPLES) -> Floats:
    """Samples of the latency of a request that visits all stations [count]. Raises ValueError when one saturates."""
    rng = np.random.default_rng(seed)
    total = np.zeros(count)
    for station in stations:
        total += station.sample_ms(rate, rng, count)
    return total
