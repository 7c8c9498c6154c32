"""From measurements to costs and back: known coefficients are found, odd files are refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perf.errors import PerfError
from perf.plan.calibrate import COLD, HOT, askers
from perf.plan.fit import TERMS, fit
from perf.plan.local import Stack
from perf.plan.meter import ALL_CORES, GENERATOR, Reading, busy, lookups
from perf.plan.profile import Costs, Profile, Seen, Stored, load
from perf.plan.trials import CALIBRATION, VALIDATION, Trial
from perf.plan.validate import Check, summary
from perf.plan.work import Scan, Work, forest_visits, tensor_bytes

STORED = Stored(user_row=800, embedding=700, shown=500, display=200, line=1e6, item_row=200)
TRUE = {
    "orchestrator": Costs(base=0.5, per_1000_candidates=0.2, per_miss=0.3),
    "redis": Costs(base=0.05, per_miss=0.01),
    "triton": Costs(base=0.6, per_1000_candidates=0.4, per_miss=0.2),
    "candidates": Costs(base=0.3, per_1000_candidates=0.4, per_scanned_mib=0.15),
    "assemble": Costs(base=0.25, per_1000_candidates=0.4),
    "ranker": Costs(base=0.2, per_1000_candidates=0.1, per_million_visits=0.8),
    "user_tower": Costs(per_miss=0.3),
}


def seen(trial: Trial, noise: float = 0.0) -> Seen:
    """What a stack with the true costs would show; 95 % of two cores in use."""
    work = Work(
        candidates=trial.candidates,
        visits=forest_visits(trial.candidates, trial.total_trees, trial.trees.leaves),
        scanned_mib=trial.items / 50_000,
        misses=trial.misses,
    )
    rng = np.random.default_rng(len(trial.name))
    cpu = {role: costs.cpu_ms(work) * (1 + noise * rng.normal()) for role, costs in TRUE.items()}
    cpu[GENERATOR] = 0.1
    return Seen(
        name=trial.name, items=trial.items, candidates=trial.candidates, trees=trial.total_trees,
        leaves=trial.trees.leaves, misses=trial.misses, scanned_mib=work.scanned_mib, visits=work.visits, cores=2,
        rate=0.95 * 2000 / sum(cpu.values()), cpu_ms=cpu,
        latency_one_client_ms=sum(cpu.values()) + 1.4, scv_one_client=0.04,
    )  # fmt: skip


def profile(noise: float = 0.0) -> Profile:
    return fit([seen(trial, noise) for trial in CALIBRATION], {"cores": 2}, STORED, cores=2)


def test_the_calibration_tells_the_coefficients_apart() -> None:
    found = profile()
    for role, costs in TRUE.items():
        for term in TERMS[role]:
            assert getattr(found.roles[role], term) == pytest.approx(getattr(costs, term), rel=1e-3), (role, term)
    assert (found.cores_used, found.generator_ms, found.scv) == pytest.approx((0.95, 0.1, 0.04))
    assert found.overhead_ms == pytest.approx(1.5, abs=0.01)


def test_cores_that_others_used_are_not_counted_as_idle() -> None:
    half = [seen(trial).model_copy(update={"rate": seen(trial).rate / 2, "others_cores": 1.0}) for trial in CALIBRATION]
    assert fit(half, {}, STORED, cores=2).cores_used == pytest.approx(0.95)


def test_noise_never_makes_a_cost_negative() -> None:
    assert all(value >= 0 for costs in profile(0.5).roles.values() for value in costs.model_dump().values())


def test_too_few_settings_are_refused() -> None:
    with pytest.raises(PerfError, match="2 settings were measured; 3 coefficients"):
        fit([seen(trial) for trial in CALIBRATION[:2]], {}, STORED, cores=2)


@pytest.mark.parametrize("trial", VALIDATION[:4], ids=lambda trial: trial.name)
def test_a_stack_with_these_costs_is_foretold(trial: Trial) -> None:
    measured = seen(trial)
    assert Stack(profile=profile(), work=measured.work, cores=2).saturation() == pytest.approx(measured.rate, rel=0.01)


def test_one_core_and_a_generator_apart() -> None:
    work = seen(CALIBRATION[0]).work
    both = Stack(profile=profile(), work=work, cores=2).saturation()
    one = Stack(profile=profile(), work=work, cores=1, shares_with_generator=False).saturation()
    total = sum(profile().cpu_ms(work).values())
    assert one / both == pytest.approx((total + 0.1) / total / 2 / 0.95, rel=1e-3)  # one core is never left idle


def test_a_miss_is_paid_in_full_by_those_who_miss() -> None:
    work = replace(seen(CALIBRATION[0]).work, misses=0.1)
    costs = profile().model_copy(update={"scv": 0.0, "overhead_ms": 0.0})
    times = Stack(profile=costs, work=work, cores=2).latency_ms(0.001)
    hit, miss = np.unique(np.round(times, 3))
    assert miss - hit == pytest.approx(sum(one.per_miss for one in TRUE.values()), abs=0.01)
    assert times.mean() == pytest.approx(sum(costs.cpu_ms(work).values()) + 0.1, rel=0.01)


def test_a_loaded_stack_is_slower_than_an_idle_one() -> None:
    stack = Stack(profile=profile(), work=seen(CALIBRATION[0]).work, cores=2)
    idle, busy = (np.percentile(stack.latency_ms(share * stack.saturation()), 99) for share in (0.05, 0.6))
    assert sum(profile().cpu_ms(stack.work).values()) + profile().overhead_ms < idle < 0.8 * busy


def test_no_setting_is_both_calibrated_and_validated() -> None:
    def key(trial: Trial) -> tuple[object, ...]:
        return trial.items, trial.candidates, trial.trees, trial.misses, trial.cores

    assert not set(map(key, CALIBRATION)) & set(map(key, VALIDATION))
    base = CALIBRATION[0]
    for name in ("items", "candidates", "trees", "misses", "cores"):  # each is changed once at least
        assert any(getattr(trial, name) != getattr(base, name) for trial in VALIDATION)


@pytest.mark.parametrize("misses", [0.0, 0.3, 0.5, 1.0])
def test_the_users_to_draw_from_have_the_share_of_new_ones(misses: float) -> None:
    users = askers(misses)
    hot = {user for user in users if users.count(user) > 1} if len(users) < 1000 else set(users[COLD:])
    assert len(users) - len(users[:COLD]) == len(users[COLD:])
    new = len(users[:COLD]) / len(users) if misses else 0.0
    assert new == pytest.approx(misses, abs=0.01)
    assert len(hot) in (0, HOT)


def reading(at: float, busy_s: float, cpu: dict[str, float], hits: float, misses: float, cores: int) -> Reading:
    return Reading(at=at, cpu=cpu, busy=busy_s, hits=hits, misses=misses, cores=cores)


def test_what_was_used_between_two_looks() -> None:
    before = reading(10, 100, {"redis": 1.0, GENERATOR: 5.0}, 100, 50, ALL_CORES)
    after = reading(20, 115, {"redis": 3.0, GENERATOR: 6.0}, 170, 80, ALL_CORES)
    assert before.missed(after) == 0.3
    assert before.missed(before) == 0
    assert before.cpu_ms(after, 1000) == {"redis": 2, GENERATOR: 1}
    assert before.others(after) == pytest.approx(1.2)  # 15 s busy in 10 s, 3 of them ours


def test_a_generator_on_other_cores_is_not_of_these() -> None:
    """The stack is confined; what the generator took of its cores is counted as others'."""
    before = reading(10, 100, {"redis": 1.0, GENERATOR: 5.0}, 0, 0, ALL_CORES + 1)
    after = reading(20, 104, {"redis": 3.0, GENERATOR: 6.0}, 0, 0, ALL_CORES + 1)
    assert before.others(after) == pytest.approx(0.2)


def test_the_look_ups_are_read_from_the_metrics() -> None:
    labels = 'cache_lookups_total{cache="embedding",result='
    said = (
        f'# HELP x\n{labels}"hit"}} 12.0\n{labels}"miss"}} 3.0\ncache_lookups_total{{cache="user_row",result="hit"}} 9'
    )
    assert lookups(said) == (12, 3)
    assert lookups("") == (0, 0)


def test_a_busy_machine_is_seen(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    rows = [f"cpu{cpu} 100 20 30 999 777 5 5 40 0 0" for cpu in sorted(os.sched_getaffinity(0))]
    stat.write_text("\n".join(["cpu 9 9 9 9 9 9 9 9 0 0", *rows, "intr 5"]))
    assert busy(1, stat) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))


def test_errors_are_relative_to_what_was_measured() -> None:
    checks = [
        Check(name="x", seen=seen(CALIBRATION[0]).model_copy(update={"rate": rate}), predicted_rate=110, asked=1,
              predicted_p99_ms=8, measured_p99_ms=10)
        for rate in (100.0, 110.0, 220.0)
    ]  # fmt: skip
    assert [round(check.rate_error, 3) for check in checks] == [0.1, 0, -0.5]
    half = replace(checks[1], seen=checks[1].seen.model_copy(update={"others_cores": 1.0, "rate": 55.0}))
    assert (half.rate_error, half.left_error) == pytest.approx((1, 0))
    assert summary(checks) == {"median_rate_error": 0.1, "median_p99_error": 0.2, "target_rate_error": 0.15}


def test_the_quantities_a_cost_grows_with() -> None:
    assert forest_visits(500, 300, 64) == 900_000
    work = Work(candidates=500, visits=900_000, scanned_mib=2, misses=0.1)
    assert Costs(base=1, per_1000_candidates=2, per_million_visits=10, per_scanned_mib=3, per_miss=5).cpu_ms(
        work
    ) == pytest.approx(1 + 1 + 9 + 6 + 0.5)


def test_what_a_search_reads() -> None:
    ivf = Scan(items=1000, dimension=128, vector_bytes=136, nlist=50, nprobe=5)
    assert (ivf.scanned_bytes, ivf.coarse_bytes) == (13_600, 25_600)
    assert ivf.as_flat().scanned_bytes == 256_000
    assert Scan(items=10**7, dimension=128, vector_bytes=136, nlist=16384, nprobe=8).centroids == 4096
    assert Scan(items=1000, dimension=128, vector_bytes=776, walked=100).share == 0.1


def test_a_call_carries_what_the_contract_says() -> None:
    asked, answered = tensor_bytes(500, id_bytes=16)
    assert answered == 500 * (8 + 16 + 4 + 12 + 24) + 4
    assert tensor_bytes(1000, id_bytes=16) == (asked, 1000 * 64 + 4)


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"visits": -1}, {"misses": 1.1}])
def test_impossible_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a request's work"):
        Work(**{"candidates": 1, "visits": 1, "scanned_mib": 1, "misses": 0, **wrong})


@pytest.mark.parametrize("wrong", [{"items": 0}, {"vector_bytes": 0}, {"nlist": 1, "nprobe": 2}])
def test_an_impossible_index_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not an index"):
        Scan(**{"items": 1, "dimension": 1, "vector_bytes": 1, **wrong})


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(profile().model_dump_json())
    assert load(path) == profile()


def test_a_missing_or_odd_profile_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match=r"make one with `python -m perf plan --calibrate`"):
        load(tmp_path / "none.json")
    odd = json.loads(profile().model_dump_json())
    odd["cores_used"] = 2
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    with pytest.raises(PerfError, match=r"odd\.json: cores_used: .* calibrate again"):
        load(tmp_path / "odd.json")
