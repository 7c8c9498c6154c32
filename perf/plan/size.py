"""Demand and profile → replicas of every pool, what binds each, and the latency that follows.

Every pool is given the fewest replicas with which the demand's load, swap headroom kept, leaves each at or below a
share of its saturation; `spare` replicas come on top. The share starts at 80 % and is lowered until the p99 holds with
the spare replicas lost. Each replica gets its part of a Poisson stream, which is Poisson again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perf.errors import PerfError
from perf.plan.curves import Document, UnmeasuredError
from perf.plan.demand import Demand
from perf.plan.gpu import Gpu, gpu_of
from perf.plan.model import Floats, Station, path_ms
from perf.plan.profile import Profile
from perf.plan.replica import disk_gib, memory_gib, replica_of, spread
from perf.plan.store import Store, store_of
from perf.plan.work import tensor_bytes
from perf.roofline.devices import named

HIGHEST, LOWEST, STEP = 0.8, 0.2, 0.05
SAMPLES = 40_000  # of a latency
HOP_MS = 0.2  # assumed: a request's way over the network between two processes, there and back
HOPS = 3  # in front of the orchestrator, to Redis, to Triton
HTTP_BYTES = 6000  # a request and its answer of 20 items, headers included
NIC_SHARE = 0.7


class UnreachableError(PerfError):
    """No number of replicas meets the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Equal replicas; `limits` are the requests/s of one by what may bind it. `utilisation`: with all replicas up,
    `utilisation_short`: with the spare ones lost."""

    name: str
    replicas: int
    needed: int
    binds: str
    utilisation: float
    utilisation_short: float
    limits: Mapping[str, float]
    cores: int
    memory_gib: float
    gpus: int = 0
    disk_gib: float = 0.0
    basis: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Predicted milliseconds, all replicas up and with the spare ones lost."""

    p50_ms: float
    p99_ms: float
    p50_short_ms: float
    p99_short_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to serve the demand: `cpu`, or `gpu` with Triton's models on GPUs."""

    variant: str
    demand: Demand
    pools: tuple[Pool, ...]
    store: Store
    latency: Latency
    highest_utilisation: float
    network_gbit: float
    gpu: Gpu | None = None

    def pool(self, name: str) -> Pool:
        """A pool by name."""
        return next(pool for pool in self.pools if pool.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A way that cannot serve the demand, and why."""

    variant: str
    why: str


def attempts(demand: Demand, profile: Profile, curves: Document | None = None) -> list[Plan | Refusal]:
    """The CPU way, and the GPU way where a GPU is named. Raises PerfError for an unknown GPU."""
    if not demand.gpu:
        return [_attempt(demand, profile, None)]
    named(demand.gpu, "gpu")
    return [_attempt(demand, profile, None), _attempt_on_gpu(demand, profile, curves)]


def feasible(tried: Sequence[Plan | Refusal]) -> list[Plan]:
    """The ways that meet the limit. Raises PerfError when none does."""
    found = [one for one in tried if isinstance(one, Plan)]
    if not found:
        raise PerfError("; ".join(one.why for one in tried if isinstance(one, Refusal)))
    return found


def _attempt(demand: Demand, profile: Profile, gpu: Gpu | None) -> Plan | Refusal:
    try:
        return _plan(demand, profile, gpu)
    except UnreachableError as error:
        return Refusal(variant="gpu" if gpu else "cpu", why=str(error))


def _attempt_on_gpu(demand: Demand, profile: Profile, curves: Document | None) -> Plan | Refusal:
    try:
        gpu = gpu_of(demand, profile, named(str(demand.gpu), "gpu"), curves)
    except UnmeasuredError as error:
        return Refusal(variant="gpu", why=str(error))
    return _attempt(demand, profile, gpu)


def _plan(demand: Demand, profile: Profile, gpu: Gpu | None) -> Plan:
    """Lower the utilisation until the limit holds."""
    store = store_of(demand, profile)
    for share in np.arange(HIGHEST, LOWEST - STEP / 2, -STEP):
        pools = _pools(demand, profile, store, gpu, float(share))
        short = _latencies(demand, profile, store, gpu, pools, spare_lost=True)
        if np.percentile(short, 99) <= demand.p99_ms:
            every = _latencies(demand, profile, store, gpu, pools, spare_lost=False)
            return Plan(
                variant="gpu" if gpu else "cpu", demand=demand, pools=pools, store=store, gpu=gpu,
                latency=_latency(every, short), highest_utilisation=round(float(share), 2),
                network_gbit=demand.rate * 8 * (HTTP_BYTES + sum(tensor_bytes(demand.candidates))) / 1e9,
            )  # fmt: skip
    reached = float(np.percentile(short, 99))
    raise UnreachableError(
        f"p99 is {reached:.0f} ms on {'GPUs' if gpu else 'CPUs'} even at {LOWEST:.0%} utilisation, the limit is "
        f"{demand.p99_ms:g} ms; ask for fewer candidates, trees or probed lists"
    )


def _latency(every: Floats, short: Floats) -> Latency:
    values = [round(float(v), 2) for v in (*np.percentile(every, (50, 99)), *np.percentile(short, (50, 99)))]
    return Latency(p50_ms=values[0], p99_ms=values[1], p50_short_ms=values[2], p99_short_ms=values[3])


def _pools(demand: Demand, profile: Profile, store: Store, gpu: Gpu | None, share: float) -> tuple[Pool, ...]:
    orchestrator = _pool(
        "orchestrator", demand, {"CPU": _orchestrator(demand, profile).saturation(), "network": _nic(demand)}, share
    )
    on_gpu = gpu is not None
    limits = replica_of(demand, profile, on_gpu=on_gpu).limits() | {"network": _nic(demand)}
    if gpu is not None:
        limits["GPU"] = gpu.batches.saturation()
    basis = "CPU measured here" + (f"; GPU {gpu.basis}" if gpu else "")
    return (
        replace(orchestrator, memory_gib=1.0, basis="CPU measured here"),
        replace(
            _pool("triton", demand, limits, share), cores=demand.triton_cores, gpus=gpu.count if gpu else 0,
            memory_gib=round(memory_gib(demand, profile, on_gpu=on_gpu), 1),
            disk_gib=round(disk_gib(demand, profile), 1), basis=basis,
        ),
        Pool(
            name="redis", replicas=store.shards * (1 + demand.spare), needed=store.shards, binds=store.binds,
            utilisation=store.utilisation, utilisation_short=store.utilisation, limits=store.limits, cores=1,
            memory_gib=demand.redis_gib, basis="bytes and CPU measured here",
        ),
    )  # fmt: skip


def _pool(name: str, demand: Demand, limits: Mapping[str, float], share: float) -> Pool:
    binds = min(limits, key=lambda resource: limits[resource])
    allowed = limits[binds] * share * (1 - demand.swap_headroom)
    needed = math.ceil(demand.rate / allowed)
    replicas = needed + demand.spare
    return Pool(
        name=name, replicas=replicas, needed=needed, binds=binds if share == HIGHEST else f"{binds}, for latency",
        utilisation=round(demand.rate / replicas / limits[binds], 3),
        utilisation_short=round(demand.rate / needed / limits[binds], 3),
        limits={resource: round(limit, 1) for resource, limit in limits.items()}, cores=1, memory_gib=0.0,
    )  # fmt: skip


def _latencies(
    demand: Demand, profile: Profile, store: Store, gpu: Gpu | None, pools: Sequence[Pool], *, spare_lost: bool
) -> Floats:
    """Samples of a request's time through one replica of each pool."""
    count = {pool.name: pool.needed if spare_lost else pool.replicas for pool in pools}
    triton = replica_of(demand, profile, on_gpu=gpu is not None)
    total = path_ms([_orchestrator(demand, profile)], demand.rate / count["orchestrator"], seed=1, count=SAMPLES)
    total += path_ms([store.station], demand.rate / store.shards, seed=2, count=SAMPLES)
    total += triton.sample_ms(demand.rate / count["triton"], seed=3, count=SAMPLES)
    total += HOPS * HOP_MS + profile.overhead_ms
    if gpu is not None:
        batches = gpu.batches.sample_ms(demand.rate / count["triton"], seed=4)
        total += np.random.default_rng(5).choice(batches, len(total))
    return total


def _orchestrator(demand: Demand, profile: Profile) -> Station:
    """One process, one core: the event loop."""
    ms = profile.cpu_ms(demand.work)["orchestrator"]
    return Station(name="orchestrator", service_ms=ms, scv=spread(demand, profile))


def _nic(demand: Demand) -> float:
    """Requests/s that a replica's network carries."""
    return NIC_SHARE * demand.nic_gbit * 1e9 / 8 / (HTTP_BYTES + sum(tensor_bytes(demand.candidates)))
