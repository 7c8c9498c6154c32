"""A whole stack on one machine: stations with a queue each, whose busy threads share the cores.

While more threads want to run than there are cores, each runs at cores ÷ threads of its speed: egalitarian processor
sharing among the threads, as a fair scheduler does, with first come, first served in front of each single-threaded
process. Simulated event by event; with one station it is M/G/c, with as many threads as requests it is processor-shared
M/G/c, whose mean time depends on the mean of the work only (Cohen, 1979).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perf.plan.model import Floats, gamma

REQUESTS = 12_000
Job = list[float]  # [work left in ms, number of the request]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A stop of every request, or of `share` of them: CPU milliseconds at a station. A request that makes the visits of
    a share makes those of every greater one too, so that equal shares are of the same requests."""

    station: str
    work_ms: float
    scv: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Cores, and the threads of each station; a station not named has one."""

    cores: int
    threads: dict[str, int]

    def __post_init__(self) -> None:
        if self.cores < 1 or min(self.threads.values(), default=1) < 1:
            raise ValueError(f"cores is {self.cores}, threads are {self.threads}; each must be at least 1")


def saturation(visits: Sequence[Visit], machine: Machine, cores_used: float = 1.0) -> float:
    """Requests/s at which the cores or one station's threads are always busy: the bottleneck law (Denning and
    Buzen, The operational analysis of queueing network models, 1978). Of several cores the share `cores_used` is at
    work at saturation: their queues are never all filled; a thread that is the bottleneck is busy all the time."""
    demand: dict[str, float] = {}
    for visit in visits:
        demand[visit.station] = demand.get(visit.station, 0.0) + visit.share * visit.work_ms
    stations = [machine.threads.get(name, 1) / ms for name, ms in demand.items() if ms]
    used = cores_used if machine.cores > 1 else 1.0
    return 1000 * min([used * machine.cores / sum(demand.values()), *stations])


def simulate(visits: Sequence[Visit], machine: Machine, rate: float, seed: int = 0, count: int = REQUESTS) -> Floats:
    """Milliseconds from arrival to the last visit's end of `count` Poisson arrivals; the first tenth is left out.

    Raises ValueError at or above saturation.
    """
    if rate >= saturation(visits, machine):
        raise ValueError(f"the stack saturates at {saturation(visits, machine):.0f} requests/s, asked for {rate:.0f}")
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1000 / rate, count))
    chance = rng.random(count)
    work = np.stack([_work(visit, chance, rng) for visit in visits], axis=1)
    ends = _Run(visits, machine, work).ends(arrivals)
    return (ends - arrivals)[count // 10 :]


def _work(visit: Visit, chance: Floats, rng: np.random.Generator) -> Floats:
    return np.where(chance < visit.share, gamma(visit.work_ms, visit.scv, rng, len(chance)), 0.0)


class _Run:
    """The state of one simulation: who waits where, who runs, how much work is left."""

    def __init__(self, visits: Sequence[Visit], machine: Machine, work: Floats) -> None:
        self._stations = [visit.station for visit in visits]
        self._cores = machine.cores
        self._free = {name: machine.threads.get(name, 1) for name in self._stations}
        self._waiting: dict[str, deque[int]] = {name: deque() for name in self._stations}
        self._work: list[list[float]] = work.tolist()
        self._next = [0] * len(work)
        self._running: list[Job] = []
        self._ended = np.zeros(len(work))

    def ends(self, arrivals: Floats) -> Floats:
        now = 0.0
        for request, arrival in enumerate(arrivals.tolist()):
            now = self._until(now, arrival)
            self._enter(request, now)
        self._until(now, float("inf"))
        return self._ended

    def _until(self, now: float, limit: float) -> float:
        """Let work be done up to `limit`, or until there is none."""
        while self._running:
            slowdown = max(1.0, len(self._running) / self._cores)
            first = min(self._running)
            step = first[0] * slowdown
            if now + step > limit:
                break
            now += step
            self._spend(first[0])
            self._running.remove(first)
            self._leave(int(first[1]), now)
        if limit == float("inf"):
            return now
        self._spend((limit - now) / max(1.0, len(self._running) / self._cores))
        return limit

    def _spend(self, work: float) -> None:
        for job in self._running:
            job[0] -= work

    def _enter(self, request: int, now: float) -> None:
        """Go to the next visit that has work; without one the request has ended."""
        work, place = self._work[request], self._next[request]
        while place < len(work) and not work[place]:
            place += 1
        self._next[request] = place
        if place == len(work):
            self._ended[request] = now
        elif self._free[self._stations[place]]:
            self._free[self._stations[place]] -= 1
            self._running.append([work[place], request])
        else:
            self._waiting[self._stations[place]].append(request)

    def _leave(self, request: int, now: float) -> None:
        """The visit is over: its thread takes the next in the queue, the request moves on."""
        station = self._stations[self._next[request]]
        self._next[request] += 1
        if self._waiting[station]:
            follower = self._waiting[station].popleft()
            self._running.append([self._work[follower][self._next[follower]], follower])
        else:
            self._free[station] += 1
        self._enter(request, now)
