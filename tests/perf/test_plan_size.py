"""Sizing: round costs whose answers can be counted by hand, and what must hold for any demand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perf.errors import PerfError
from perf.plan.profile import Costs
from perf.plan.replica import memory_gib, replica_of
from perf.plan.size import Plan, Refusal, attempts
from perf.plan.store import memory_gib as redis_gib
from perf.plan.store import store_of
from perf.plan.sweep import as_rows, sweep
from perf.roofline.devices import GIB
from tests.perf.planning import DEMAND, PRICES, PROFILE, ROLES, cpu, plans


def test_replicas_counted_by_hand() -> None:
    plan = cpu()
    orchestrator, triton = plan.pool("orchestrator"), plan.pool("triton")
    # 1000 requests/s × 80 % × 90 % of headroom = 720 each; Triton 8 cores ÷ 4 ms = 2000, so 1440 each
    assert (orchestrator.needed, orchestrator.replicas, orchestrator.binds) == (10, 11, "CPU")
    assert (triton.needed, triton.replicas, triton.binds) == (5, 6, "CPU")
    assert triton.utilisation_short == pytest.approx(0.72)
    assert triton.utilisation == pytest.approx(0.6)
    # two releases: eight indexes and one table each; eight lines; a server and forty processes
    expected = 2 * (1e6 * (8 * 136 + 250) + 8 * 1e6) / GIB + 1 + 0.1 * 8 * 5
    assert triton.memory_gib == pytest.approx(expected, abs=0.06)
    assert triton.disk_gib == pytest.approx(3 * 1e6 * (136 + 250) / GIB, abs=0.06)


def test_a_models_instances_can_bind() -> None:
    few = cpu(replace(DEMAND, instances=2)).pool("triton")  # two rankers of 2 ms each, where the cores carry 2000
    assert (few.binds, few.limits["ranker instances"], few.limits["CPU"]) == ("ranker instances", 1000, 2000)
    assert few.needed == 10
    assert cpu(replace(DEMAND, instances=16)).pool("triton").limits["ranker instances"] == 8000


def test_waiting_for_an_instance_takes_time() -> None:
    one, many = (
        replica_of(replace(DEMAND, instances=n), PROFILE, on_gpu=False).sample_ms(400, seed=1, count=50_000)
        for n in (1, 8)
    )
    # M/G/1 with 2 ms at 80 %: 2·0.8/0.2·(1 + scv)/2 on top, scv of the three stops as the profile's whole
    scv = 0.1 * 25 / 9
    assert one.mean() - many.mean() == pytest.approx(8 * (1 + scv) / 2, rel=0.05)
    assert many.mean() == pytest.approx(4, rel=0.01)


def test_a_missed_embedding_is_paid_by_those_who_miss() -> None:
    costs = ROLES | {"triton": Costs(base=2, per_miss=3), "user_tower": Costs(per_miss=20)}
    profile = PROFILE.model_copy(update={"roles": costs, "scv": 0.0})
    times = replica_of(replace(DEMAND, hit_rate=0.9), profile, on_gpu=False).sample_ms(1, seed=1, count=20_000)
    assert sorted(set(np.round(times, 3))) == [4, 27]
    assert np.mean(times > 20) == pytest.approx(0.1, abs=0.01)


def test_beside_a_gpu_the_host_keeps_one_index_of_each_release() -> None:
    expected = 2 * (1e6 * (136 + 250) + 1e6) / GIB + 1 + 0.1 * 6  # assemble has two instances there
    assert memory_gib(DEMAND, PROFILE, on_gpu=True) == pytest.approx(expected)


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
    assert by_memory.utilisation == pytest.approx(by_memory.total_gib / by_memory.shards, abs=1e-3)
    assert by_cpu.utilisation == pytest.approx(5 / 9, abs=1e-3)


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_every_spare_copy_of_redis_is_a_node(spare: int) -> None:
    redis = cpu(replace(DEMAND, users=10_000_000, spare=spare)).pool("redis")
    assert redis.needed > 1
    assert redis.replicas == redis.needed * (1 + spare)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0}, {"items": -1}, {"hit_rate": 1.1}, {"probed": 0}, {"probed": 2}, {"swap_headroom": 1},
        {"spare": -1}, {"instances": 0}, {"rate": float("nan")}, {"rate": float("inf")}, {"p99_ms": float("inf")},
        {"swap_headroom": float("nan")}, {"vector_bytes": float("nan")},
    ],
)  # fmt: skip
def test_an_impossible_demand_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(DEMAND, **wrong)
