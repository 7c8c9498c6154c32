"""Timing one call at growing batch sizes: warm-up, raw samples kept, percentiles later."""

import time
from collections.abc import Callable, Sequence

import numpy as np

WARM_UP = 3
LEAST, MOST = 10, 200  # samples of a point; a slow call gets fewer, never less than the least


def sweep(
    prepare: Callable[[int], Callable[[int], object]], batches: Sequence[int], seconds: float
) -> list[dict[str, object]]:
    """For each batch size, `prepare(batch)` answers the call to time; it is given the sample's number.

    About `seconds` for each point. Milliseconds per call: median, p99, all samples; `per_second` is batch ÷ median.
    """
    return [_point(batch, time_calls(prepare(batch), seconds)) for batch in batches]


def time_calls(call: Callable[[int], object], seconds: float) -> list[float]:
    """Milliseconds of each call."""
    for number in range(WARM_UP):
        call(number)
    samples: list[float] = []
    until = time.perf_counter() + seconds
    while len(samples) < LEAST or (time.perf_counter() < until and len(samples) < MOST):
        started = time.perf_counter()
        call(len(samples))
        samples.append((time.perf_counter() - started) * 1000)
    return samples


def _point(batch: int, samples: list[float]) -> dict[str, object]:
    median, p99 = np.percentile(samples, (50, 99))
    return {
        "batch": batch, "ms": round(float(median), 4), "p99_ms": round(float(p99), 4),
        "per_second": round(batch / float(median) * 1000, 1), "samples_ms": [round(s, 4) for s in samples],
    }  # fmt: skip
