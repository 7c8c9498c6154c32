"""Redis: memory of what is kept, commands a second, and the shards they need."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.policy import Policy
from perf.plan.demand import Demand
from perf.plan.model import Station
from perf.plan.profile import Profile
from perf.roofline.devices import GIB

FILLED = 0.75  # of a shard's memory: fragmentation and the copy-on-write of a snapshot need the rest
BUSY = 0.6  # of a shard's one core
READS, WRITES, MISS_WRITES = 2, 3, 1  # MGET and LRANGE; LPUSH, LTRIM, EXPIRE; SET of a fresh embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """GiB by what is kept, commands/s in all, shards, what asked for them and how much of it they use; `station` is one
    shard."""

    memory_gib: Mapping[str, float]
    commands_per_s: float
    shards: int
    binds: str
    utilisation: float
    limits: Mapping[str, float]
    station: Station

    @property
    def total_gib(self) -> float:
        """Of one copy of everything."""
        return sum(self.memory_gib.values())


def store_of(demand: Demand, profile: Profile) -> Store:
    """The store of a demand."""
    memory = memory_gib(demand, profile)
    station = Station(name="redis", service_ms=profile.cpu_ms(demand.work)["redis"], scv=1.0)
    used = {"memory": sum(memory.values()) / demand.redis_gib, "CPU": demand.rate / station.saturation()}
    wanted = {"memory": used["memory"] / FILLED, "CPU": used["CPU"] / BUSY}
    binds = max(wanted, key=lambda resource: wanted[resource])
    shards = max(1, math.ceil(wanted[binds]))
    return Store(
        memory_gib=memory,
        commands_per_s=demand.rate * (READS + WRITES + MISS_WRITES * (1 - demand.hit_rate)),
        shards=shards,
        binds=binds,
        utilisation=round(used[binds] / shards, 3),
        limits={"CPU": round(station.saturation(), 1)},
        station=station,
    )


def memory_gib(demand: Demand, profile: Profile, policy: Policy | None = None) -> dict[str, float]:
    """GiB by kind of entry.

    Cached embeddings by Little's law (1961): each miss writes one that lives `embedding_ttl_s`, so rate × misses × ttl
    are there at a time, and so many different users come in that time. No more lists of shown items than such users.
    """
    policy, stored = policy or Policy(), profile.stored
    embedded = min(demand.users, demand.rate * (1 - demand.hit_rate) * policy.embedding_ttl_s)
    active = embedded if demand.hit_rate < 1 else demand.users
    return {
        "user rows": demand.users * stored.user_row / GIB,
        "embeddings": embedded * stored.embedding / GIB,
        "shown items": active * stored.shown / GIB,
        "item displays": demand.items * stored.display / GIB,
    }
