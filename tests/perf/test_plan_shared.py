"""A stack on shared cores: queues with known answers, and the bottleneck law."""

import numpy as np
import pytest

from perf.plan.model import erlang_c
from perf.plan.shared import Machine, Visit, saturation, simulate

MANY = 10_000


def one(scv: float, work: float = 1.0) -> list[Visit]:
    return [Visit(station="only", work_ms=work, scv=scv)]


def test_one_thread_on_one_core_is_mm1() -> None:
    samples = simulate(one(1), Machine(cores=1, threads={}), 500, count=100_000)
    assert samples.mean() == pytest.approx(2, rel=0.04)
    assert np.percentile(samples, 99) == pytest.approx(2 * np.log(100), rel=0.06)


def test_one_thread_with_constant_work_is_md1() -> None:
    assert simulate(one(0), Machine(cores=1, threads={}), 500, count=100_000).mean() == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("scv", [0, 3])
def test_a_thread_for_each_request_is_processor_sharing(cores: int, scv: float) -> None:
    machine = Machine(cores=cores, threads={"only": MANY})
    samples = simulate(one(scv), machine, 600 * cores, count=100_000)
    shared = 1 + erlang_c(cores, 0.6 * cores) / (0.4 * cores)  # whatever the spread: Cohen, 1979
    assert samples.mean() == pytest.approx(shared, rel=0.06)


def test_alone_a_request_takes_the_sum_of_its_work() -> None:
    visits = [Visit(station=name, work_ms=ms) for name, ms in (("a", 1), ("b", 2), ("a", 0.5))]
    assert simulate(visits, Machine(cores=2, threads={}), 0.001, count=100) == pytest.approx(3.5)


def test_only_a_share_of_the_requests_makes_a_visit() -> None:
    visits = [Visit(station="a", work_ms=1), Visit(station="tower", work_ms=4, share=0.25)]
    found = simulate(visits, Machine(cores=2, threads={}), 0.001, count=4000)
    assert set(np.round(found, 6)) == {1, 5}
    assert found.mean() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("cores", "threads", "rate"), [(2, {}, 250), (1, {}, 200), (8, {}, 250), (8, {"b": 4}, 1000), (2, {"b": 4}, 400)]
)
def test_the_bottleneck_law(cores: int, threads: dict[str, int], rate: float) -> None:
    visits = [Visit(station="a", work_ms=0.5), Visit(station="b", work_ms=4), Visit(station="a", work_ms=0.5)]
    assert saturation(visits, Machine(cores=cores, threads=threads)) == pytest.approx(rate)


def test_equal_shares_are_of_the_same_requests() -> None:
    visits = [Visit(station="a", work_ms=1), *(Visit(station=name, work_ms=4, share=0.25) for name in ("b", "c"))]
    assert set(np.round(simulate(visits, Machine(cores=2, threads={}), 0.001, count=4000), 6)) == {1, 9}


def test_only_the_cores_are_left_partly_idle() -> None:
    visits = [Visit(station="a", work_ms=1), Visit(station="b", work_ms=4)]
    assert saturation(visits, Machine(cores=8, threads={}), cores_used=0.9) == 250  # b's thread
    assert saturation(visits, Machine(cores=2, threads={"b": 2}), cores_used=0.9) == pytest.approx(360)
    assert saturation(visits, Machine(cores=1, threads={}), cores_used=0.9) == 200


def test_two_stages_that_share_a_core_slow_each_other() -> None:
    visits = [Visit(station="a", work_ms=1, scv=1), Visit(station="b", work_ms=1, scv=1)]
    shared = simulate(visits, Machine(cores=1, threads={}), 400, count=20_000).mean()
    apart = simulate(visits, Machine(cores=2, threads={}), 400, count=20_000).mean()
    assert apart == pytest.approx(2 / 0.6, rel=0.08)  # two M/M/1 in a row (Burke)
    assert shared > 1.5 * apart


def test_above_saturation_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="the stack saturates at 1000 requests/s, asked for 1000"):
        simulate(one(1), Machine(cores=4, threads={}), 1000)


def test_the_same_seed_draws_the_same() -> None:
    machine = Machine(cores=2, threads={})
    assert (simulate(one(1), machine, 300, seed=5) == simulate(one(1), machine, 300, seed=5)).all()


def test_a_machine_without_cores_is_refused() -> None:
    with pytest.raises(ValueError, match="cores is 0"):
        Machine(cores=0, threads={})
