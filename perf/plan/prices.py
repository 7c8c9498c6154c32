"""What a plan costs, where prices are given: a TOML file of amounts per hour.

currency = "EUR"
core = 0.03            # a core
memory_gib = 0.004     # a GiB of memory
redis_gib = 0.01       # a GiB of Redis memory; memory_gib when left out
disk_gib = 0.0001      # a GiB of disk
[gpu]
h100 = 2.5             # one GPU, by the planner's names
"""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perf.errors import PerfError
from perf.plan.size import Plan

HOURS_A_MONTH = 730
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """Amounts per hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = "USD"
    core: Amount
    memory_gib: Amount
    redis_gib: Amount | None = None
    disk_gib: Amount = 0.0
    gpu: dict[str, Amount] = {}


def read_prices(path: Path) -> Prices:
    """Read a price file. Raises PerfError naming the entry."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PerfError(f"{path}: {error}; see perf/plan/prices.py for the form") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise PerfError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def cost(plan: Plan, prices: Prices) -> dict[str, float]:
    """Cost per hour by pool, in all, per month of 730 hours and per million requests at the target rate.

    Raises PerfError when the plan's GPU has no price.
    """
    by_pool = {pool.name: 0.0 for pool in plan.pools}
    for pool in plan.pools:
        memory = prices.redis_gib if pool.name == "redis" and prices.redis_gib is not None else prices.memory_gib
        each = pool.cores * prices.core + pool.memory_gib * memory + pool.disk_gib * prices.disk_gib
        by_pool[pool.name] = pool.replicas * (each + pool.gpus * _gpu_price(plan, prices, pool.gpus))
    hour = sum(by_pool.values())
    return {
        **{name: round(amount, 3) for name, amount in by_pool.items()},
        "hour": round(hour, 3),
        "month": round(hour * HOURS_A_MONTH, 2),
        "million_requests": round(hour / (plan.demand.rate * 3600) * 1e6, 4),
    }


def _gpu_price(plan: Plan, prices: Prices, gpus: int) -> float:
    name = plan.demand.gpu
    if not gpus or name is None:
        return 0.0
    if name not in prices.gpu:
        raise PerfError(f"no price for the GPU {name}; add it to [gpu]")
    return prices.gpu[name]
