"""Sizing: round costs whose answers can be counted by hand, and what must hold for any demand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from perf.errors import PerfError
from perf.plan.autoscale import autoscalers, manifests
from perf.plan.demand import Demand
from perf.plan.gpu import RUNTIME_GIB, from_curves, from_roofline, gpu_of, memory_gib
from perf.plan.page import page
from perf.plan.prices import Prices, cost, read_prices
from perf.plan.profile import Costs, Profile, Seen, Stored
from perf.plan.report import document, markdown, sources, table
from perf.plan.size import Plan, Refusal, attempts, plans
from perf.plan.store import memory_gib as redis_gib
from perf.plan.store import store_of
from perf.plan.sweep import as_rows, sweep
from perf.roofline.devices import GIB, named

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


def cpu(demand: Demand = DEMAND) -> Plan:
    return plans(demand, PROFILE)[0]


def gpu(demand: Demand = DEMAND) -> Plan:
    return plans(replace(demand, gpu="h100"), PROFILE)[1]


def test_replicas_counted_by_hand() -> None:
    plan = cpu()
    orchestrator, triton = plan.pool("orchestrator"), plan.pool("triton")
    # 1000 requests/s × 80 % × 90 % of headroom = 720 each; Triton 8 cores ÷ 4 ms = 2000, so 1440 each
    assert (orchestrator.needed, orchestrator.replicas, orchestrator.binds) == (10, 11, "CPU")
    assert (triton.needed, triton.replicas, triton.binds) == (5, 6, "CPU")
    assert triton.utilisation_short == pytest.approx(0.72)
    assert triton.utilisation == pytest.approx(0.6)
    assert triton.memory_gib == pytest.approx(2 * 1e6 * (136 + 250) / GIB + 2, abs=0.06)
    assert triton.disk_gib == pytest.approx(3 * 1e6 * (136 + 250) / GIB, abs=0.06)


def test_what_redis_keeps() -> None:
    found = redis_gib(replace(DEMAND, users=10_000_000), PROFILE)
    embedded = 7200 * 0.1 * 3600  # Little: misses a second × their hour
    assert found["user rows"] == pytest.approx(1e10 / GIB)
    assert found["embeddings"] == pytest.approx(embedded * 700 / GIB, rel=1e-6)
    assert found["shown items"] == pytest.approx(embedded * 500 / GIB, rel=1e-6)
    assert found["item displays"] == pytest.approx(2e8 / GIB)


def test_no_more_embeddings_than_users() -> None:
    assert redis_gib(replace(DEMAND, users=1000), PROFILE)["embeddings"] == pytest.approx(700_000 / GIB)


def test_redis_shards_by_memory_and_by_cpu() -> None:
    by_memory = store_of(replace(DEMAND, users=10_000_000, rate=100), PROFILE)
    assert by_memory.binds == "memory"
    assert by_memory.shards == int(np.ceil(by_memory.total_gib / 0.75))
    by_cpu = store_of(replace(DEMAND, rate=50_000, users=1000, hit_rate=1.0), PROFILE)
    assert (by_cpu.binds, by_cpu.shards) == ("CPU", 9)  # 6000 requests/s each
    assert by_cpu.commands_per_s == 250_000


def test_the_network_can_bind() -> None:
    plan = cpu(replace(DEMAND, nic_gbit=0.1))
    assert plan.pool("triton").binds == "network"
    assert plan.pool("triton").replicas > cpu().pool("triton").replicas


def test_a_tight_limit_costs_replicas() -> None:
    loose, tight = cpu(), cpu(replace(DEMAND, p99_ms=cpu().latency.p99_short_ms - 1))
    assert tight.pool("orchestrator").replicas > loose.pool("orchestrator").replicas
    assert tight.pool("orchestrator").binds == "CPU, for latency"
    assert tight.latency.p99_short_ms <= tight.demand.p99_ms
    assert tight.highest_utilisation < loose.highest_utilisation == 0.8


def test_an_impossible_limit_says_so() -> None:
    with pytest.raises(PerfError, match=r"on CPUs even at 20% utilisation, the limit is 3 ms"):
        cpu(replace(DEMAND, p99_ms=3))


def test_lost_spares_are_slower() -> None:
    found = cpu().latency
    assert found.p50_ms < found.p99_ms < found.p99_short_ms
    assert found.p50_ms > 1 + 4 + 0.1 + 0.6 + 1  # nothing waits: the stages, three hops, the overhead


def test_two_releases_are_resident_on_the_gpu() -> None:
    demand = replace(DEMAND, gpu="h100")
    scores = 64 * 1e6 * 4
    assert memory_gib(demand, PROFILE) == pytest.approx((2 * 1e6 * (256 + 8 + 250) + scores) / GIB + RUNTIME_GIB)


def test_a_catalogue_larger_than_a_gpu_is_spread() -> None:
    l4 = named("l4")
    assert gpu_of(DEMAND, PROFILE, l4).count == 1
    assert gpu_of(replace(DEMAND, items=40_000_000), PROFILE, l4).count == 3  # 39.8 GiB of 17.6 each


def test_a_flat_search_reads_its_catalogue_once_a_batch() -> None:
    device, demand = named("h100"), replace(DEMAND, items=10_000_000)
    flat = from_roofline(demand, PROFILE, device)
    ivf = from_roofline(replace(demand, gpu_index="ivf"), PROFILE, device)
    assert flat.fixed_ms == pytest.approx(0.3 + 2.56e9 / 3.35e12 * 1000 / 0.4, rel=0.1)
    assert flat.each_ms == pytest.approx(8e7 / 3.35e12 * 1000 / 0.4, rel=0.2)  # a score of every item, written and read
    assert ivf.each_ms > 0.02 * 2.56e9 / 3.35e12 * 1000 / 0.4  # the probed lists, for every query
    assert ivf.service_ms(1) < flat.service_ms(1) / 5


def curves() -> dict[str, Any]:
    line = [{"batch": b, "ms": 1 + 0.05 * b, "recall": 1.0} for b in (1, 16, 64)]
    hasty = [{"batch": b, "ms": 0.1 + 0.001 * b, "recall": 0.6} for b in (1, 16, 64)]
    small = [{"items": 10, "batch": b, "ms": 0.1, "recall": 1.0} for b in (1, 16)]
    return {
        "candidates": {"1000000-flat-fp16": line, "1000000-flat-hasty": hasty, "10-flat-fp16": small},
        "ranker": [{"rows": 500 * b, "ms": 0.2 + 0.01 * b} for b in (1, 16, 64)],
        "towers": {
            "user_tower": [{"batch": b, "ms": 0.1 + 0.01 * b} for b in (1, 64)],
            "assemble": [{"batch": 2, "ms": 0.5}, {"batch": 1, "ms": 0.3}],
            "item_tower": [{"batch": 1, "ms": 9}],
        },
    }


def test_measured_curves_replace_the_roofline(tmp_path: Path) -> None:
    found = from_curves(curves(), DEMAND)
    assert found.fixed_ms == pytest.approx(1 + 0.2 + 0.1)
    assert found.each_ms == pytest.approx(0.05 + 0.01 + 0.1 * 0.01 + 0.3)  # a tenth of the requests miss
    path = tmp_path / "curves.json"
    path.write_text(json.dumps(curves()))
    assert gpu_of(DEMAND, PROFILE, named("h100"), path).basis == "measured curves, curves.json"


def test_curves_without_a_good_search_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="no ivf search of 1000000 items with recall"):
        from_curves(curves(), replace(DEMAND, gpu_index="ivf"))
    with pytest.raises(PerfError, match="hold no assemble; measure it"):
        from_curves(curves() | {"towers": {"user_tower": curves()["towers"]["user_tower"]}}, DEMAND)
    with pytest.raises(PerfError, match="holds no GPU curves"):
        gpu_of(DEMAND, PROFILE, named("h100"), tmp_path / "none.json")


def test_a_gpu_takes_the_forest_off_the_cores() -> None:
    assert gpu().pool("triton").gpus == 1
    assert gpu().pool("triton").limits["CPU"] == pytest.approx(cpu().pool("triton").limits["CPU"])  # base costs stay
    visits = PROFILE.model_copy(update={"roles": ROLES | {"ranker": Costs(per_million_visits=2)}})
    without, beside = plans(replace(DEMAND, gpu="h100"), visits)
    assert beside.pool("triton").limits["CPU"] > without.pool("triton").limits["CPU"]


def test_cost_by_hand() -> None:
    plan = cpu()
    triton, found = plan.pool("triton"), cost(plan, PRICES)
    assert found["triton"] == pytest.approx(
        6 * (8 * 0.1 + triton.memory_gib * 0.01 + triton.disk_gib * 0.001), abs=1e-3
    )
    assert found["orchestrator"] == pytest.approx(11 * (0.1 + 0.01), abs=1e-3)
    assert found["hour"] == pytest.approx(found["triton"] + found["orchestrator"] + found["redis"], abs=2e-3)
    assert found["million_requests"] == pytest.approx(found["hour"] / 25.92, abs=1e-3)
    assert cost(gpu(), PRICES)["triton"] > gpu().pool("triton").replicas * 2


def test_prices_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('currency = "EUR"\ncore = 0.1\nmemory_gib = 0.01\n[gpu]\nh100 = 2.0\n')
    assert read_prices(path).gpu == {"h100": 2.0}
    path.write_text("core = -1\nmemory_gib = 0.01\n")
    with pytest.raises(PerfError, match=r"prices\.toml: core"):
        read_prices(path)
    with pytest.raises(PerfError, match="no price for the GPU h100"):
        cost(gpu(), PRICES.model_copy(update={"gpu": {}}))


def test_autoscalers_hold_what_was_planned() -> None:
    documents = list(yaml.safe_load_all(manifests(cpu())))
    assert [d["metadata"]["name"] for d in documents] == ["trident-orchestrator", "trident-triton"]
    triton = documents[1]["spec"]
    assert triton["metrics"][0]["resource"]["target"]["averageUtilization"] == 60  # 0.8 × 0.9 × 5 of 6
    assert (triton["minReplicas"], triton["maxReplicas"]) == (2, 9)


def test_a_bound_gpu_is_scaled_by_its_own_utilisation() -> None:
    plan = gpu(replace(DEMAND, items=30_000_000, triton_cores=64))
    assert plan.pool("triton").binds == "GPU"
    assert [one.metric for one in autoscalers(plan)] == ["cpu", "gpu"]
    assert (
        "nv_gpu_utilization"
        in list(yaml.safe_load_all(manifests(plan)))[1]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    )


@settings(deadline=None, max_examples=15)
@given(st.floats(100, 40_000), st.floats(1.05, 3), st.integers(0, 3))
def test_more_load_never_needs_less(rate: float, factor: float, spare: int) -> None:
    small = cpu(replace(DEMAND, rate=rate, spare=spare))
    large = cpu(replace(DEMAND, rate=factor * rate, spare=spare))
    for name in ("orchestrator", "triton", "redis"):
        assert small.pool(name).replicas <= large.pool(name).replicas
    for pool in large.pools[:2]:
        assert pool.utilisation_short <= large.highest_utilisation * 0.9 + 1e-3
        assert pool.replicas - pool.needed == spare


def test_the_sweep_changes_one_thing_at_a_time() -> None:
    rows = as_rows(list(sweep(DEMAND, PROFILE)), PRICES)
    assert {row["changed"] for row in rows} == {"rate", "items", "candidates", "hit_rate", "spare"}
    spare = [row["triton"] for row in rows if row["changed"] == "spare"]
    assert np.diff([int(str(n)) for n in spare]).tolist() == [1, 1]


def test_the_sweep_says_what_fails() -> None:
    row = as_rows([next(sweep(replace(DEMAND, p99_ms=3), PROFILE))])[0]
    assert (row["variant"], row["triton"]) == ("cpu", None)
    assert "the limit is 3 ms" in str(row["binds"])


def test_one_way_may_do_where_the_other_does_not() -> None:
    slow = PROFILE.model_copy(update={"roles": ROLES | {"candidates": Costs(per_scanned_mib=5)}})
    tried = attempts(replace(DEMAND, gpu="h100", p99_ms=15), slow)
    assert [type(one) for one in tried] == [Refusal, Plan]
    assert [plan.variant for plan in plans(replace(DEMAND, gpu="h100", p99_ms=15), slow)] == ["gpu"]


def test_a_processor_is_no_gpu() -> None:
    with pytest.raises(PerfError, match="no gpu 'xeon-8480' in the table; there are h100, "):
        plans(replace(DEMAND, gpu="xeon-8480"), PROFILE)


def test_the_reports_stand_alone() -> None:
    both = plans(replace(DEMAND, gpu="h100"), PROFILE)
    text = page(both, list(sweep(both[0].demand, PROFILE)), PROFILE, PRICES)
    assert "data:image/png;base64,iVBOR" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "src=" not in text.replace('src="data:', "")
    assert "H100 SXM" in text
    said = markdown(both, PROFILE, PRICES)
    assert said.startswith("# Capacity for 7,200 requests/s, 1,000,000 items")
    assert "kind: HorizontalPodAutoscaler" in said


def test_what_is_extrapolated_is_called_so() -> None:
    rows = {str(row["figure"]): row["kind"] for row in sources(plans(replace(DEMAND, gpu="h100"), PROFILE), PROFILE)}
    assert rows["CPU of a search"] == "extrapolated"  # a million items, calibrated on 50,000
    assert rows["time of a batch on H100 SXM"] == "extrapolated"
    assert rows["CPU per request by role"] == "measured here"
    small = sources(plans(replace(DEMAND, items=20_000), PROFILE), PROFILE)
    assert next(row["kind"] for row in small if row["figure"] == "CPU of a search") == "measured here"


def test_the_document_is_json() -> None:
    found = json.loads(json.dumps(document(plans(replace(DEMAND, gpu="h100"), PROFILE), PRICES)))
    assert [plan["variant"] for plan in found["plans"]] == ["cpu", "gpu"]
    assert found["plans"][0]["pools"]["triton"]["replicas"] == 6
    assert found["demand"]["rate"] == 7200


def test_a_markdown_table() -> None:
    assert table([{"a": 1, "b": None}]) == "| a | b |\n|---|---|\n| 1 |  |"


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"items": -1}, {"hit_rate": 1.1}, {"probed": 0}, {"swap_headroom": 1}, {"spare": -1}]
)
def test_an_impossible_demand_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(DEMAND, **wrong)
