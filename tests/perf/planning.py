"""A profile of round costs, and plans made with it."""

from dataclasses import replace

from perf.plan.demand import Demand
from perf.plan.prices import Prices
from perf.plan.profile import Costs, Profile, Seen, Stored
from perf.plan.size import Plan, attempts, feasible

# One millisecond in the orchestrator, 4 in Triton, a tenth in Redis, whatever is asked for.
ROLES = {"orchestrator": Costs(base=1), "redis": Costs(base=0.1), "triton": Costs(base=2), "ranker": Costs(base=2)}
SEEN = Seen(
    name="x", items=50_000, candidates=500, trees=300, leaves=64, misses=0, scanned_mib=1, visits=1e6, cores=2, rate=1,
    cpu_ms={}, latency_one_client_ms=1, scv_one_client=0,
)  # fmt: skip
PROFILE = Profile(
    machine={"cores": 2, "cpu": "a core"}, roles=ROLES, generator_ms=0, cores_used=1, scv=0.1, overhead_ms=1,
    stored=Stored(user_row=1000, embedding=700, shown=500, display=200, line=1e6, item_row=250), seen=(SEEN,),
)  # fmt: skip
DEMAND = Demand(rate=7200, items=1_000_000, users=1_000_000, triton_cores=8, redis_gib=1.0)
PRICES = Prices(currency="EUR", core=0.1, memory_gib=0.01, redis_gib=0.02, disk_gib=0.001, gpu={"h100": 2.0})


def plans(demand: Demand, profile: Profile = PROFILE) -> list[Plan]:
    """Every way that meets the limit."""
    return feasible(attempts(demand, profile))


def cpu(demand: Demand = DEMAND) -> Plan:
    """On processors only."""
    return plans(demand)[0]


def gpu(demand: Demand = DEMAND) -> Plan:
    """With the models on a GPU."""
    return plans(replace(demand, gpu="h100"))[1]
