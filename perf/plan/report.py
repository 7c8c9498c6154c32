"""A plan as rows: for the terminal, for JSON, for Markdown and for the HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perf.plan.autoscale import autoscalers, manifests
from perf.plan.built import nearest
from perf.plan.demand import Demand
from perf.plan.prices import Prices, cost
from perf.plan.profile import Profile
from perf.plan.size import HOP_MS, HOPS, Plan, Pool
from perf.plan.store import READS, WRITES

Row = dict[str, object]


def document(plans: Sequence[Plan], prices: Prices | None) -> dict[str, Any]:
    """All of it as JSON holds it."""
    demand = plans[0].demand
    return {
        "demand": asdict(demand) | {"index": asdict(demand.index)},
        "plans": [_plan(plan, prices) for plan in plans],
    }


def pool_rows(plan: Plan) -> list[Row]:
    """A row for each pool."""
    return [_pool(pool) for pool in plan.pools]


def summary_rows(plans: Sequence[Plan], prices: Prices | None) -> list[Row]:
    """A row for each variant."""
    return [
        {
            "variant": plan.variant,
            "orchestrators": plan.pool("orchestrator").replicas,
            "triton": plan.pool("triton").replicas,
            "gpus": plan.pool("triton").replicas * plan.pool("triton").gpus,
            "redis_nodes": plan.pool("redis").replicas,
            "cores": sum(pool.replicas * pool.cores for pool in plan.pools),
            "p50_ms": plan.latency.p50_ms,
            "p99_ms": plan.latency.p99_ms,
            "p99_short_ms": plan.latency.p99_short_ms,
            "network_gbit": round(plan.network_gbit, 2),
            **({f"month_{prices.currency}": cost(plan, prices)["month"]} if prices else {}),
        }
        for plan in plans
    ]


def store_rows(plan: Plan) -> list[Row]:
    """What Redis holds and does."""
    memory: list[Row] = [{"redis": kind, "figure": f"{gib:.2f} GiB"} for kind, gib in plan.store.memory_gib.items()]
    return [
        *memory,
        {"redis": "in all, one copy", "figure": f"{plan.store.total_gib:.2f} GiB"},
        {"redis": "commands", "figure": f"{plan.store.commands_per_s:,.0f} /s"},
        {"redis": "shards", "figure": f"{plan.store.shards}, by {plan.store.binds}"},
    ]


def sources(plans: Sequence[Plan], profile: Profile) -> list[Row]:
    """Where each figure comes from: measured, scaled, a maker's, assumed."""
    machine, largest = profile.machine, max(seen.items for seen in profile.seen)
    cores = f"{machine.get('cores')} cores, {machine.get('cpu')}"
    rows: list[Row] = [
        _source("CPU per request by role", "measured here", f"{len(profile.seen)} settings, {cores}"),
        _source("CPU of a search", *_search_source(plans[0], largest)),
        _source("CPU on other machines", "extrapolated", "taken to be as fast a core as the one measured"),
        _source("bytes of users, items, releases", "measured here", "Redis' MEMORY USAGE and the release's files"),
        *_index_sources(plans[0].demand),
        _source("instances of each model on a CPU", "assumed", _instances(plans[0].demand)),
        _source("network hops", "assumed", f"{HOPS} × {HOP_MS:g} ms"),
        _source("Redis commands", "read in the code", f"{READS} reads, {WRITES} writes a request, 1 more a miss"),
        _source("waiting", "model", "M/G/c stations, exponential tails; docs/capacity.md"),
    ]
    for plan in plans:
        if plan.gpu is not None:
            rows.append(_source(f"time of a batch on {plan.gpu.name}", _gpu_kind(plan.gpu.basis), plan.gpu.basis))
            how = "this machine's without scan and forest, instances of the model repository; an upper bound"
            rows.append(_source("CPU beside the GPU", "scaled", how))
    return rows


def markdown(plans: Sequence[Plan], profile: Profile, prices: Prices | None) -> str:
    """The whole report as Markdown."""
    demand = plans[0].demand
    parts = [
        f"# Capacity for {demand.rate:,.0f} requests/s, {demand.items:,} items, {demand.users:,} users, "
        f"p99 < {demand.p99_ms:g} ms",
        table(summary_rows(plans, prices)),
    ]
    for plan in plans:
        parts += [f"## {plan.variant}", table(pool_rows(plan)), table(store_rows(plan))]
        parts += ["```yaml\n" + manifests(plan) + "```"]
    return "\n\n".join([*parts, "## Where the figures come from", table(sources(plans, profile))]) + "\n"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join("" if row[name] is None else str(row[name]) for name in head) + " |" for row in rows]
    return "\n".join(lines)


def _search_source(plan: Plan, largest: int) -> tuple[str, str]:
    items = plan.demand.items
    if items <= largest:
        return "measured here", f"catalogues up to {largest:,} items"
    return "extrapolated", f"by bytes scanned, from {largest:,} to {items:,} items"


def _index_sources(demand: Demand) -> list[Row]:
    """Where bytes of a vector and probed share come from: the command line, an index built, or an assumption."""
    index, known = demand.index, nearest(demand.built, demand.items)
    built = ("as built", f"{known.items:,} items: {known}") if known else None
    read = f"{index.probed:.2%} of the lists" if index.nlist else f"no lists, {index.kind}"
    asked = built if demand.probed is None and built else None
    given = "asked for, --probed" if demand.probed is not None else "no stored catalogue; --probed"
    probed = asked or ("assumed", f"{read}, {given}")
    size = built or ("assumed", f"{index.vector_bytes:g}, no stored catalogue; --vector-bytes")
    if demand.vector_bytes is not None:
        size = ("assumed", f"{index.vector_bytes:g}, asked for, --vector-bytes")
    return [_source("share of the index a query reads", *probed), _source("bytes of an indexed vector", *size)]


def _gpu_kind(basis: str) -> str:
    if basis.startswith("vendor"):
        return "extrapolated"
    return "interpolated" if "interpolated" in basis else "measured"


def _instances(demand: Demand) -> str:
    copies = "each with an index of its own" if demand.instances > 1 else "with the index"
    return f"{demand.instances} of one thread on {demand.triton_cores} cores, {copies}; --instances"


def _source(what: str, kind: str, how: str) -> Row:
    return {"figure": what, "kind": kind, "how": how}


def _pool(pool: Pool) -> Row:
    lost = pool.replicas - pool.needed
    return {
        "pool": pool.name,
        "replicas": pool.replicas,
        "of_them_spare": lost,
        "binds": pool.binds,
        "limit_rps_each": pool.limits.get(pool.binds.split(",")[0], ""),
        "utilisation": f"{pool.utilisation:.0%}",
        "spare_lost": f"{pool.utilisation_short:.0%}",
        "cores": pool.cores,
        "memory_gib": pool.memory_gib,
        "gpus": pool.gpus,
        "disk_gib": pool.disk_gib,
        "basis": pool.basis,
    }


def _plan(plan: Plan, prices: Prices | None) -> dict[str, Any]:
    return {
        "variant": plan.variant,
        "pools": {pool.name: asdict(pool) for pool in plan.pools},
        "gpu": asdict(plan.gpu) if plan.gpu else None,
        "redis": {"memory_gib": dict(plan.store.memory_gib), "commands_per_s": plan.store.commands_per_s,
                  "shards": plan.store.shards, "binds": plan.store.binds},
        "latency": asdict(plan.latency),
        "highest_utilisation": plan.highest_utilisation,
        "network_gbit": round(plan.network_gbit, 3),
        "autoscalers": [asdict(one) for one in autoscalers(plan)],
        "cost": cost(plan, prices) if prices else None,
    }  # fmt: skip
