"""Swapping two releases to and fro under an open loop at a share of the knee.

A cycle: steady load, then `python -m exporters publish --release N` as an operator runs it (it loads on Triton, proves
and promotes), then `retire` of the other, which unloads it; so each swap loads anew. The generator never pauses in a
cycle. A swap's window is from the start of publishing until a second after it ended, when every orchestrator follows.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from deploy.settings import ROOT, Settings, child_environment
from exporters.build import Report
from exporters.traffic import TrafficStore
from perf.errors import PerfError
from perf.load import OpenLoop, Outcome, Target, drive
from perf.load.answer import OK, UNDEGRADED, WRONG
from perf.load.outcome import Milliseconds, quantile
from perf.load.schedule import WARM_UP_S

STEADY_S = 6.0
FOLLOW_S = 1.0
SPARE_S = 4.0  # of a cycle beyond the longest one so far
FACTOR, ADDED_MS = 1.5, 20.0  # p99 during a swap may be so many times the steady one, or so much above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One swap: seconds it took, requests of the whole cycle, and p99 (ms) before it and during it."""

    release: int
    publish_s: float
    retire_s: float
    requests: int
    failed: int
    mixed: int
    degraded: int
    steady_p99_ms: float
    swap_p99_ms: float
    swap_max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """All of them at `rate` requests/s. `steady_ms` are the latencies of all steady windows."""

    rate: float
    swaps: tuple[Swap, ...]
    steady_ms: Milliseconds

    def as_dict(self) -> dict[str, object]:
        """The figures; `p99_ratio` and `p99_added_ms` are of the median swap against all steady windows together."""
        steady = quantile(self.steady_ms, 0.99)
        during = float(np.median([swap.swap_p99_ms for swap in self.swaps]))
        return {
            "swaps": len(self.swaps),
            "failed": sum(swap.failed for swap in self.swaps),
            "mixed": sum(swap.mixed for swap in self.swaps),
            "degraded": sum(swap.degraded for swap in self.swaps),
            "requests": sum(swap.requests for swap in self.swaps),
            "rate": round(self.rate, 1),
            "p99_ratio": round(during / steady, 3),
            "p99_added_ms": round(during - steady, 2),
            "steady_p99_ms": round(steady, 2),
            "swap_p99_ms": round(during, 2),
            "within_limits": during <= max(FACTOR * steady, steady + ADDED_MS),
            "publish_s": round(float(np.median([swap.publish_s for swap in self.swaps])), 1),
            "retire_s": round(float(np.median([swap.retire_s for swap in self.swaps])), 1),
            "each": [asdict(swap) for swap in self.swaps],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When publishing began and ended and the other was gone, on `time.monotonic`."""

    started: float
    published: float
    retired: float


def swap_under_load(settings: Settings, target: Target, rate: float, count: int, report: Report) -> Swaps:
    """Swap `count` times between releases 1 and 2. Raises PerfError when publishing or retiring fails."""
    swaps, steady, longest = [], [], 24.0
    for number in range(count):
        (current,) = TrafficStore(settings).require().carried
        other = 3 - current
        outcome, times = _cycle(settings, target, rate, current, other, longest, seed=number)
        before = outcome.latency_between(0.0, times.started - outcome.zero)
        during = outcome.latency_between(times.started - outcome.zero, times.published + FOLLOW_S - outcome.zero)
        longest = max(longest, times.retired - times.started)
        swaps.append(_swap(other, times, outcome, before, during))
        steady.append(before)
        report(f"{number + 1}/{count}: release {current} → {other}, p99 {swaps[-1].steady_p99_ms:.0f} → "
               f"{swaps[-1].swap_p99_ms:.0f} ms, {swaps[-1].failed} failed, {swaps[-1].mixed} mixed")  # fmt: skip
    return Swaps(rate=rate, swaps=tuple(swaps), steady_ms=np.concatenate(steady))


def _cycle(
    settings: Settings, target: Target, rate: float, current: int, other: int, longest: float, seed: int
) -> tuple[Outcome, Times]:
    """Steady load, the swap, and what is left of the time."""
    with ThreadPoolExecutor(1) as operator:
        swap = operator.submit(_operate, settings, current, other)
        outcome = drive(target, OpenLoop(rate=rate, seconds=STEADY_S + longest + SPARE_S, seed=seed))
        times = swap.result()
    if times.published + FOLLOW_S > outcome.zero + outcome.seconds:
        raise PerfError(f"publishing took {times.published - times.started:.0f} s, longer than the load; swap again")
    return outcome, times


def _operate(settings: Settings, current: int, other: int) -> Times:
    time.sleep(WARM_UP_S + STEADY_S)
    started = time.monotonic()
    _exporters(settings, "publish", "--release", str(other))
    published = time.monotonic()
    _exporters(settings, "retire", str(current))
    return Times(started=started, published=published, retired=time.monotonic())


def _exporters(settings: Settings, *words: str) -> None:
    command = [sys.executable, "-m", "exporters", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(settings), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PerfError(f"`python -m exporters {' '.join(words)}` failed: {done.stderr.strip().splitlines()[-1]}")


def _swap(release: int, times: Times, outcome: Outcome, before: Milliseconds, during: Milliseconds) -> Swap:
    statuses, levels = outcome.statuses, outcome.degraded
    ok, wrong = statuses.get(OK, 0), statuses.get(WRONG, 0)
    return Swap(
        release=release,
        publish_s=round(times.published - times.started, 2),
        retire_s=round(times.retired - times.published, 2),
        requests=len(outcome),
        failed=len(outcome) - ok - wrong,
        mixed=wrong,
        degraded=sum(n for level, n in levels.items() if level not in UNDEGRADED),
        steady_p99_ms=round(quantile(before, 0.99), 2),
        swap_p99_ms=round(quantile(during, 0.99), 2),
        swap_max_ms=round(quantile(during, 1.0), 2),
    )
