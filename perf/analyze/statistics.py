"""Triton's statistics of a model version, and what happened between two readings of them.

perf_analyzer's file has no columns for an ensemble's parts, and its split of an ensemble counts a shared execution once
for each request in it; the statistics extension of the server protocol (`ModelStatistics`) has both right.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from perf.analyze.points import Stage
from perf.errors import PerfError

NS_PER_MS = 1e6
QUIET_S, PATIENCE_S = 0.3, 60.0
Served = Sequence[tuple[str, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Triton's cumulative counters of one model version: counts, and nanoseconds over all successful requests."""

    success: int = 0
    fail: int = 0
    executions: int = 0
    total_ns: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


Reading = Mapping[tuple[str, int], Counters]


def reader(url: str, timeout_s: float = 10.0) -> Callable[[Served], Reading]:
    """Reads the counters of (model, version) pairs from the Triton at `url`; its calls raise PerfError."""
    client = triton.InferenceServerClient(url)

    def read(served: Served) -> Reading:
        try:
            return {
                (name, version): _counters(
                    client.get_inference_statistics(name, str(version), client_timeout=timeout_s)
                )
                for name, version in served
            }
        except InferenceServerException as error:
            raise PerfError(f"Triton at {url} gives no statistics: {error.message()}") from None

    return read


def settled(
    read: Callable[[Served], Reading], served: Served, quiet_s: float = QUIET_S, patience_s: float = PATIENCE_S
) -> Reading:
    """The counters once nothing moves them: requests that an earlier, overloaded run left behind are then answered.

    Raises PerfError when they still move after `patience_s`: somebody else is using this Triton.
    """
    deadline, before = time.monotonic() + patience_s, read(served)
    while True:
        time.sleep(quiet_s)
        after = read(served)
        if after == before:
            return after
        if time.monotonic() > deadline:
            names = ", ".join(sorted({name for name, _ in served}))
            raise PerfError(
                f"{names}: still busy after {patience_s:.0f} s without load; stop what else uses this Triton"
            )
        before = after


def difference(name: str, before: Counters, after: Counters) -> Stage:
    """What one model did between two readings."""
    requests = after.success - before.success

    def per_request(field: str) -> float:
        return float(getattr(after, field) - getattr(before, field)) / NS_PER_MS / max(requests, 1)

    return Stage(
        stage=name,
        requests=requests,
        failed=after.fail - before.fail,
        executions=after.executions - before.executions,
        total_ms=per_request("total_ns"),
        queue_ms=per_request("queue_ns"),
        compute_input_ms=per_request("input_ns"),
        compute_infer_ms=per_request("infer_ns"),
        compute_output_ms=per_request("output_ns"),
    )


def _counters(answer: triton.service_pb2.ModelStatisticsResponse) -> Counters:
    model = answer.model_stats[0]
    stats = model.inference_stats
    return Counters(
        success=stats.success.count,
        fail=stats.fail.count,
        executions=model.execution_count,
        total_ns=stats.success.ns,
        queue_ns=stats.queue.ns,
        input_ns=stats.compute_input.ns,
        infer_ns=stats.compute_infer.ns,
        output_ns=stats.compute_output.ns,
    )
