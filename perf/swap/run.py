"""Swapping two releases to and fro under an open loop.

A cycle: steady load, then `python -m exporters publish --release N` as an operator runs it (it loads on Triton, proves
and promotes), then, once everybody follows, `retire` of the other, which unloads it; so each swap loads anew. The
generator never pauses in a cycle.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deploy.settings import ROOT, Settings, child_environment
from exporters.build import Report
from exporters.traffic import TrafficStore
from perf.errors import PerfError
from perf.load import OpenLoop, Target, drive
from perf.load.schedule import WARM_UP_S
from perf.swap.cycle import FOLLOW_S, Cycle, Swaps

STEADY_S = 6.0
FIRST_S = 30.0  # a guess of what the first swap takes; the others take as long as the longest so far
SPARE_S = 4.0


def swap_under_load(
    settings: Settings, target: Target, rate_of: Callable[[int], float], count: int, report: Report
) -> Swaps:
    """Swap `count` times between releases 1 and 2, each at `rate_of` its number, from 0.

    Raises PerfError when publishing or retiring fails.
    """
    cycles: list[Cycle] = []
    for number in range(count):
        longest = max((cycle.publish_s + cycle.retire_s for cycle in cycles), default=FIRST_S)
        load = OpenLoop(rate=rate_of(number), seconds=STEADY_S + longest + SPARE_S, seed=number)
        cycles.append(_cycle(settings, target, load))
        told = cycles[-1].as_dict()
        counts = ", ".join(f"{told[name]} {name}" for name in ("failed", "mixed", "degraded"))
        report(f"{number + 1}/{count}: to release {told['release']} at {load.rate:.0f}/s, p99 {told['steady_p99_ms']} "
               f"→ {told['swap_p99_ms']} ms, {counts}")  # fmt: skip
    return Swaps(cycles=tuple(cycles))


def _cycle(settings: Settings, target: Target, load: OpenLoop) -> Cycle:
    (current,) = TrafficStore(settings).require().carried
    other = 3 - current
    with ThreadPoolExecutor(1) as operator:
        swap = operator.submit(_operate, settings, current, other)
        outcome = drive(target, load)
        started, published, retired = swap.result()
    if published + FOLLOW_S > outcome.zero + outcome.seconds:
        raise PerfError(f"publishing took {published - started:.0f} s, longer than the load; swap again")
    return Cycle(release=other, rate=load.rate, outcome=outcome, started=started, published=published, retired=retired)


def _operate(settings: Settings, current: int, other: int) -> tuple[float, float, float]:
    time.sleep(WARM_UP_S + STEADY_S)
    started = time.monotonic()
    _exporters(settings, "publish", "--release", str(other))
    published = time.monotonic()
    time.sleep(FOLLOW_S)
    _exporters(settings, "retire", str(current))
    return started, published, time.monotonic()


def _exporters(settings: Settings, *words: str) -> None:
    command = [sys.executable, "-m", "exporters", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(settings), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PerfError(f"`python -m exporters {' '.join(words)}` failed: {done.stderr.strip().splitlines()[-1]}")
