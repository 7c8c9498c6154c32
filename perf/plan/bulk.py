"""Batch service on a GPU: everything that waits, up to `largest`, is served together.

A batch of b takes s(b) = fixed + b·each, the linear law found for inference on GPUs (Inoue, Queueing analysis of
GPU-based inference servers with dynamic batching, Performance Evaluation 147, 2021); bulk service is Bailey's (On
queueing processes with bulk service, JRSS B 16, 1954). Triton's dynamic batcher starts a batch when it is full or its
oldest request has waited for the window. Waiting times come from a simulation of exactly that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perf.plan.model import Floats

REQUESTS = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """One server of batches; times in milliseconds."""

    fixed_ms: float
    each_ms: float
    largest: int
    window_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.largest < 1:
            raise ValueError(f"largest batch is {self.largest}, must be at least 1")
        if not all(0 <= a < math.inf for a in (self.fixed_ms, self.each_ms, self.window_ms)):
            raise ValueError("no part of a batch's time may be negative or infinite")
        if not self.fixed_ms + self.each_ms:
            raise ValueError("a batch must take time")

    def service_ms(self, batch: float) -> float:
        """Time of a batch."""
        return self.fixed_ms + batch * self.each_ms

    def saturation(self) -> float:
        """Requests/s with every batch full."""
        return 1000 * self.largest / self.service_ms(self.largest)

    def utilisation(self, rate: float) -> float:
        """Share of what the server could do with full batches: what tells how far saturation is."""
        return rate / self.saturation()

    def sample_ms(self, rate: float, seed: int = 0, count: int = REQUESTS) -> Floats:
        """Time from arrival to the end of its batch for `count` Poisson arrivals. Raises ValueError when it saturates.

        The first tenth, in which the queue fills, is left out.
        """
        if self.utilisation(rate) >= 1:
            raise ValueError(f"batches saturate at {self.saturation():.0f} requests/s, asked for {rate:.0f}")
        arrivals = np.cumsum(np.random.default_rng(seed).exponential(1000 / rate, count))
        return (self._ends(arrivals) - arrivals)[count // 10 :]

    def _ends(self, arrivals: Floats) -> Floats:
        """When the batch of each arrival ends."""
        ends, first, free = np.empty(len(arrivals)), 0, 0.0
        while first < len(arrivals):
            start = max(free, self._ready(arrivals, first))
            after = min(int(np.searchsorted(arrivals, start, side="right")), first + self.largest)
            free = start + self.service_ms(after - first)
            ends[first:after] = free
            first = after
        return ends

    def _ready(self, arrivals: Floats, first: int) -> float:
        """When the batch that starts with `first` is full or its window is over."""
        full = first + self.largest - 1
        opened = float(arrivals[first]) + self.window_ms
        return min(opened, float(arrivals[full])) if full < len(arrivals) else opened


def fit_batches(points: Sequence[tuple[float, float]], largest: int, window_ms: float = 0.0) -> Batches:
    """The line through measured (batch, ms of the batch), least relative error. Raises ValueError below two points."""
    if len(points) < 2:
        raise ValueError(f"{len(points)} measured batch sizes; a line needs two")
    batch, took = np.array(points, np.float64).T
    design = np.stack([1 / took, batch / took], axis=1)
    fixed, each = np.linalg.lstsq(design, np.ones(len(took)), rcond=None)[0]
    if fixed < 0:
        fixed, each = 0.0, 1 / np.mean(batch / took)
    if each < 0:
        fixed, each = 1 / np.mean(1 / took), 0.0
    return Batches(fixed_ms=float(fixed), each_ms=float(each), largest=largest, window_ms=window_ms)
