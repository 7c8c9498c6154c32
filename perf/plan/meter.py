"""What a stack used between two moments: CPU by role, hits and misses of the embedding cache, what others used."""

import os
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.usage import cpu_seconds, spent

GENERATOR = "generator"
ALL_CORES = len(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")
LOOKUPS = 'cache_lookups_total{cache="embedding",result="%s"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look: a clock, CPU seconds so far by role and of the whole machine's `cores`, look-ups so far."""

    at: float
    cpu: Mapping[str, float]
    busy: float
    hits: float
    misses: float
    cores: int

    def missed(self, later: "Reading") -> float:
        """Share of the look-ups until `later` that missed; 0 where nothing was looked up."""
        hits, misses = later.hits - self.hits, later.misses - self.misses
        return round(misses / (hits + misses), 4) if hits + misses else 0.0

    def cpu_ms(self, later: "Reading", requests: int) -> dict[str, float]:
        """CPU milliseconds of each role per request."""
        return spent(self.cpu, later.cpu, requests)

    def others(self, later: "Reading") -> float:
        """Of the stack's cores, those neither idle nor used by it. The generator belongs to a stack on all cores; one
        confined to some is taken to have it beside, and what it took of them counts as others'."""
        ours = sum(
            later.cpu[role] - seconds
            for role, seconds in self.cpu.items()
            if role != GENERATOR or self.cores == ALL_CORES
        )
        return max(0.0, round((later.busy - self.busy - ours) / (later.at - self.at), 3))


def look(pids: Mapping[str, Sequence[int]], cores: int, url: str) -> Reading:
    """Look at a running stack on the first `cores` CPUs, whose API answers at `url`; this process is the generator."""
    hits, misses = lookups(_metrics(url))
    cpu = cpu_seconds({**pids, GENERATOR: [os.getpid()]})
    return Reading(at=time.monotonic(), cpu=cpu, busy=busy(cores), hits=hits, misses=misses, cores=cores)


def lookups(exposition: str) -> tuple[float, float]:
    """(hits, misses) of the embedding cache in the API's metrics, 0 of what it has not counted yet."""
    lines = (line for line in exposition.splitlines() if line and not line.startswith("#"))
    counts = dict(line.rsplit(" ", 1) for line in lines)
    return float(counts.get(LOOKUPS % "hit", 0)), float(counts.get(LOOKUPS % "miss", 0))


def busy(cores: int, stat: Path = Path("/proc/stat")) -> float:
    """CPU seconds of everything so far on this process's first `cores` CPUs (proc(5): all but idle and iowait)."""
    lines = [line.split() for line in stat.read_text().splitlines()]
    wanted = {f"cpu{cpu}" for cpu in sorted(os.sched_getaffinity(0))[:cores]}
    counted = [list(map(int, line[1:9])) for line in lines if line[0] in wanted]
    return sum(sum(ticks) - ticks[3] - ticks[4] for ticks in counted) / TICKS


def _metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310  our own API
        return str(answer.read().decode())
