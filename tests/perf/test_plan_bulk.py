"""Batch service: the limits it must have, and M/D/1, which it is with batches of one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perf.plan.bulk import Batches, fit_batches

GPU = Batches(fixed_ms=1, each_ms=0.02, largest=64)


def test_full_batches_are_the_limit() -> None:
    assert GPU.saturation() == pytest.approx(64 / 2.28e-3)
    assert Batches(fixed_ms=0, each_ms=0.5, largest=8).saturation() == 2000


def test_batches_of_one_are_md1() -> None:
    samples = Batches(fixed_ms=1, each_ms=0, largest=1).sample_ms(500, count=400_000)
    assert samples.mean() == pytest.approx(1.5, rel=0.02)  # s + u·s/(2(1 − u)) at utilisation u
    assert samples.min() >= 1 - 1e-9


def test_a_lone_request_waits_for_the_window() -> None:
    lone = Batches(fixed_ms=1, each_ms=0.5, largest=8, window_ms=3)
    assert np.median(lone.sample_ms(0.01, count=200)) == pytest.approx(4.5)


def test_a_full_batch_does_not_wait_for_the_window() -> None:
    pairs = Batches(fixed_ms=1, each_ms=0, largest=2, window_ms=1e6)
    assert pairs.sample_ms(100, count=200_000).mean() == pytest.approx(1 + 10 / 2, rel=0.03)


def test_the_simulated_batches_gather_as_the_law_says() -> None:
    samples = GPU.sample_ms(20_000, count=100_000)
    batch = 20 * 1 / (1 - 20 * 0.02)  # requests that come during one service, b = λ(a + c·b)
    assert GPU.service_ms(batch) < samples.mean() < 2.2 * GPU.service_ms(batch)


def test_saturated_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="batches saturate at 28070 requests/s, asked for 30000"):
        GPU.sample_ms(30_000)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.01, 0.6), st.floats(1.2, 1.5), st.floats(0.1, 5), st.floats(0.001, 0.5))
def test_more_load_takes_longer_at_the_tail(share: float, factor: float, fixed: float, each: float) -> None:
    batches = Batches(fixed_ms=fixed, each_ms=each, largest=16)
    rates = share * batches.saturation(), factor * share * batches.saturation()
    low, high = (np.percentile(batches.sample_ms(rate, count=5000), 90) for rate in rates)
    assert batches.service_ms(1) <= low * 1.000001
    assert low <= high * 1.25  # two finite samples


def test_a_measured_line_is_found() -> None:
    points = [(float(b), 0.7 + 0.03 * b) for b in (1, 4, 16, 64)]
    line = fit_batches(points, largest=64, window_ms=0.5)
    assert (line.fixed_ms, line.each_ms, line.window_ms) == pytest.approx((0.7, 0.03, 0.5))


@pytest.mark.parametrize("points", [[(1, 3.0), (10, 1.0)], [(1, 1.0), (10, 12.0)]])
def test_a_line_never_has_a_negative_part(points: list[tuple[float, float]]) -> None:
    line = fit_batches(points, largest=10)
    assert line.fixed_ms >= 0
    assert line.each_ms >= 0


def test_one_point_is_no_line() -> None:
    with pytest.raises(ValueError, match="1 measured batch sizes; a line needs two"):
        fit_batches([(1, 1.0)], largest=4)


@pytest.mark.parametrize(
    "wrong",
    [{"largest": 0}, {"fixed_ms": -1}, {"window_ms": -1}, {"each_ms": float("nan")}, {"fixed_ms": 0, "each_ms": 0}],
)
def test_impossible_batches_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="batch"):
        Batches(**{"fixed_ms": 1, "each_ms": 1, "largest": 4, **wrong})
