"""A whole stack on one machine, predicted from a profile: where it saturates, and its latency below that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from perf.plan.meter import GENERATOR
from perf.plan.model import Floats
from perf.plan.profile import Profile
from perf.plan.shared import Machine, Visit, saturation, simulate
from perf.plan.work import Work

Path = tuple[tuple[str, float], ...]
# A request's way through the processes: the share of a role's CPU it spends at each stop.
ASKED = ((GENERATOR, 0.5), ("orchestrator", 0.25), ("redis", 1.0), ("orchestrator", 0.25))
MISSED = (
    ("orchestrator", 0.5),
    ("triton", 0.5),
    ("user_tower", 1.0),
    ("triton", 0.5),
    ("orchestrator", 0.5),
    ("redis", 1.0),
)
RANKED = (
    ("triton", 0.25), ("candidates", 1.0), ("triton", 0.25), ("assemble", 1.0), ("triton", 0.25), ("ranker", 1.0),
    ("triton", 0.25), ("orchestrator", 0.5), (GENERATOR, 0.5),
)  # fmt: skip
THREADED = ("triton",)  # as many threads as cores; every other process works on one request at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What is predicted: one profile's costs for one kind of request on `cores`, the generator beside or apart."""

    profile: Profile
    work: Work
    cores: int
    shares_with_generator: bool = True

    @property
    def machine(self) -> Machine:
        """The cores and the threads of each process."""
        return Machine(cores=self.cores, threads=dict.fromkeys(THREADED, self.cores))

    @property
    def visits(self) -> tuple[Visit, ...]:
        """Each stop's CPU, its spread such that the whole has the profile's. What a missed embedding adds is paid in
        full by the share of requests that miss."""
        costs = self.profile.cpu_ms(replace(self.work, misses=0.0))
        costs[GENERATOR] = self.profile.generator_ms * self.shares_with_generator
        scv = self.profile.spread([share * costs.get(role, 0.0) for role, share in ASKED + RANKED])
        missed = _visits(MISSED, self.profile.miss_ms(), scv, self.work.misses)
        return (*_visits(ASKED, costs, scv), *missed, *_visits(RANKED, costs, scv))

    def saturation(self) -> float:
        """Requests/s that the stack answers with all clients always busy."""
        return saturation(self.visits, self.machine, self.profile.cores_used)

    def latency_ms(self, rate: float, seed: int = 0) -> Floats:
        """Latencies at `rate` requests/s with Poisson arrivals. Raises ValueError above the saturation."""
        return simulate(self.visits, self.machine, rate, seed) + self.profile.overhead_ms


def _visits(path: Path, costs: Mapping[str, float], scv: float, share: float = 1.0) -> list[Visit]:
    stops = [(role, part * costs.get(role, 0.0)) for role, part in path]
    return [Visit(station=role, work_ms=ms, scv=scv, share=share) for role, ms in stops if ms and share]
