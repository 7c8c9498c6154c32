"""What-if: one quantity of a demand changed at a time, everything else as asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from perf.plan.curves import Document
from perf.plan.demand import Demand
from perf.plan.prices import Prices, cost
from perf.plan.profile import Profile
from perf.plan.size import Plan, Refusal, attempts

FACTORS = {"rate": (0.25, 0.5, 1, 2, 4), "items": (0.1, 0.5, 1, 2, 5), "candidates": (0.2, 0.5, 1, 2)}
VALUES = {"hit_rate": (0.0, 0.5, 0.75, 0.9), "spare": (0, 1, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A changed demand: what was changed to what, and its plan; None and the reason where there is none."""

    changed: str
    value: float
    variant: str
    plan: Plan | None
    why: str = ""


def sweep(demand: Demand, profile: Profile, curves: Document | None = None) -> Iterator[Case]:
    """Every case, both variants where a GPU is named."""
    for name, value in _changes(demand):
        for tried in attempts(replace(demand, **{name: value}), profile, curves):
            plan, why = (None, tried.why) if isinstance(tried, Refusal) else (tried, "")
            yield Case(changed=name, value=value, variant=tried.variant, plan=plan, why=why)


def as_rows(cases: list[Case], prices: Prices | None = None) -> list[dict[str, object]]:
    """Rows for a table, a plot or JSON."""
    return [_row(case, prices) for case in cases]


def _changes(demand: Demand) -> Iterator[tuple[str, Any]]:
    for name, factors in FACTORS.items():
        was = getattr(demand, name)
        yield from ((name, type(was)(was * factor)) for factor in factors if was * factor >= 1)
    for name, values in VALUES.items():
        yield from ((name, value) for value in values)


def _row(case: Case, prices: Prices | None) -> dict[str, object]:
    row = {"changed": case.changed, "value": case.value, "variant": case.variant}
    return row | _figures(case.plan, prices) | ({} if case.plan else {"binds": case.why})


def _figures(plan: Plan | None, prices: Prices | None) -> dict[str, object]:
    if plan is None:
        names = ("orchestrators", "triton", "gpus", "redis_shards", "redis_gib", "p99_ms", "binds")
        return dict.fromkeys((*names, *(("month",) if prices else ())))
    triton = plan.pool("triton")
    return {
        "orchestrators": plan.pool("orchestrator").replicas,
        "triton": triton.replicas,
        "gpus": triton.replicas * triton.gpus,
        "redis_shards": plan.store.shards,
        "redis_gib": round(plan.store.total_gib, 1),
        "p99_ms": plan.latency.p99_short_ms,
        "binds": triton.binds,
        **({"month": cost(plan, prices)["month"]} if prices else {}),
    }
