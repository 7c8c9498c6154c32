"""A Triton replica: the threads that work on a request, what binds them, how long they take, what they keep in memory.

Every instance of a model works on one request at a time, as in `perf.plan.local`; the server's own threads are as many
as it likes. A request waits for an instance of each model (M/G/instances) and, once, for a core (M/G/cores, with all of
its CPU time as one service): cores and instances are taken to be independent, which counts a little too much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from model_repository.contract import BY_NAME
from perf.plan.demand import Demand
from perf.plan.model import Floats, Station, gamma
from perf.plan.profile import Profile
from perf.roofline.devices import GIB

RANKING = ("candidates", "assemble", "ranker")  # models that every request asks
TOWER = "user_tower"  # asked by those whose embedding is not cached
SERVER_GIB = 1.0  # assumed: Triton itself
INSTANCE_GIB = 0.1  # assumed: an instance's process and its libraries, beside what it loads


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Stations of the models; `cores` serves the whole request's CPU time, `server_ms` of which are the server's."""

    models: tuple[Station, ...]
    cores: Station
    server_ms: float

    def limits(self) -> dict[str, float]:
        """Requests/s by what may bind: the CPU, or a model's instances."""
        models = {f"{one.name} instances": one.saturation() for one in self.models if one.offered(1.0)}
        return {"CPU": self.cores.saturation(), **models}

    def sample_ms(self, rate: float, seed: int, count: int) -> Floats:
        """`count` times in a replica that is asked `rate` requests/s [count]. Raises ValueError at saturation."""
        rng = np.random.default_rng(seed)
        total = self.cores.sample_wait_ms(rate, rng, count) + gamma(self.server_ms, self.cores.scv, rng, count)
        for model in self.models:
            total += model.sample_ms(rate, rng, count)
        return total


def replica_of(demand: Demand, profile: Profile, *, on_gpu: bool) -> Replica:
    """A replica with everything on the CPU, or what stays on the host beside a GPU."""
    scv, missed = spread(demand, profile), profile.miss_ms()
    ranking = _ranking_ms(demand, profile, on_gpu)
    server = profile.cpu_ms(replace(demand.work, misses=0.0)).get("triton", 0.0)
    tower, share = 0.0 if on_gpu else missed.get(TOWER, 0.0), 1 - demand.hit_rate
    extra = missed.get("triton", 0.0)
    models = [
        Station(name=name, service_ms=ms, servers=instances(demand, name, on_gpu=on_gpu), scv=scv)
        for name, ms in ranking.items()
    ]
    models.append(
        Station(
            name=TOWER, service_ms=tower, servers=instances(demand, TOWER, on_gpu=on_gpu), scv=scv, share=share,
            fixed_ms=extra,
        )
    )  # fmt: skip
    whole = server + sum(ranking.values()) + share * (tower + extra)
    cores = Station(name="CPU", service_ms=whole, servers=demand.triton_cores, scv=scv)
    return Replica(models=tuple(models), cores=cores, server_ms=server)


def instances(demand: Demand, model: str, *, on_gpu: bool) -> int:
    """Instances of a model: the demand's on a CPU, the model repository's on a GPU."""
    return BY_NAME[model].gpu.count if on_gpu else demand.instances


def spread(demand: Demand, profile: Profile) -> float:
    """The scv of each stop's time with which a whole request has the profile's."""
    costs = profile.cpu_ms(demand.work)
    return profile.spread([costs.get(name, 0.0) for name in ("orchestrator", "triton", *RANKING)])


def memory_gib(demand: Demand, profile: Profile, *, on_gpu: bool) -> float:
    """Host memory with two releases in it, one serving and one being loaded.

    Each instance of `candidates` reads an index of its own; beside a GPU's it is kept or read again for deep searches.
    The item table is mapped, once for all instances.
    """
    copies = instances(demand, "candidates", on_gpu=on_gpu)
    release = demand.items * (copies * demand.index.vector_bytes + profile.stored.item_row)
    lines = copies * profile.stored.line
    processes = sum(instances(demand, name, on_gpu=on_gpu) for name in (*RANKING, TOWER, "item_tower"))
    return 2 * (release + lines) / GIB + SERVER_GIB + INSTANCE_GIB * processes


def disk_gib(demand: Demand, profile: Profile) -> float:
    """Of the releases that are kept."""
    return demand.releases_kept * demand.items * (demand.index.vector_bytes + profile.stored.item_row) / GIB


def _ranking_ms(demand: Demand, profile: Profile, on_gpu: bool) -> Mapping[str, float]:
    """CPU milliseconds of a request in each model. Beside a GPU: calls and gather, without scan and forest; a call is
    counted for every request although a batch shares it, and the costs are the Python backends': an upper bound."""
    if not on_gpu:
        costs = profile.cpu_ms(demand.work)
        return {name: costs.get(name, 0.0) for name in RANKING}
    kept = replace(demand.work, visits=0.0, scanned_mib=0.0)
    calls = {name: profile.roles[name].base for name in RANKING if name in profile.roles}
    if "candidates" in calls:
        calls["candidates"] = profile.roles["candidates"].cpu_ms(kept)
    return calls
