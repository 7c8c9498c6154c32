"""Queueing formulas against textbook values, and what must hold for any station."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perf.plan.model import Station, erlang_b, erlang_c, gamma, path_ms

STATIONS = st.builds(
    Station,
    name=st.just("any"),
    service_ms=st.floats(0.1, 50),
    servers=st.integers(1, 40),
    scv=st.floats(0, 5),
    arrivals_scv=st.floats(0.1, 3),
)


@pytest.mark.parametrize(
    ("servers", "offered", "blocked"), [(1, 1, 1 / 2), (2, 1, 1 / 5), (3, 2, 4 / 19), (10, 5, 0.018385)]
)
def test_erlang_b_of_the_tables(servers: int, offered: float, blocked: float) -> None:
    assert erlang_b(servers, offered) == pytest.approx(blocked, rel=1e-4)


@pytest.mark.parametrize(
    ("servers", "offered", "waiting"), [(1, 0.8, 0.8), (2, 1, 1 / 3), (5, 4, 0.5541), (10, 8, 0.4092), (3, 3, 1)]
)
def test_erlang_c_of_the_tables(servers: int, offered: float, waiting: float) -> None:
    assert erlang_c(servers, offered) == pytest.approx(waiting, rel=1e-3)


def test_one_exponential_server() -> None:
    station = Station(name="mm1", service_ms=8)
    assert station.saturation() == 125
    assert station.utilisation(100) == pytest.approx(0.8)
    assert station.wait_ms(100) == pytest.approx(0.8 * 8 / 0.2)
    waits = station.sample_wait_ms(100, np.random.default_rng(0), 200_000)
    assert np.mean(waits > 40) == pytest.approx(0.8 * math.exp(-0.2 * 40 / 8), rel=0.02)


def test_several_exponential_servers() -> None:
    station = Station(name="mmc", service_ms=10, servers=2)
    assert station.wait_ms(100) == pytest.approx(10 / 3)  # C(2, 1)·s/(2 − 1)


def test_a_constant_service_halves_the_wait() -> None:
    assert Station(name="md1", service_ms=1, scv=0).wait_ms(500) == pytest.approx(0.5)


def test_pollaczek_khinchine() -> None:
    rate, service, scv = 0.6, 1.0, 3.0  # per ms, ms: λ·E[S²]/(2(1 − λ·E[S]))
    expected = rate * (scv + 1) * service**2 / (2 * (1 - rate))
    assert Station(name="mg1", service_ms=service, scv=scv).wait_ms(600) == pytest.approx(expected)


def test_a_share_of_the_requests_loads_by_its_share() -> None:
    assert Station(name="tower", service_ms=4, share=0.25).saturation() == 1000


def test_at_saturation_there_is_no_steady_state() -> None:
    station = Station(name="full", service_ms=10)
    assert station.wait_ms(100) == math.inf
    with pytest.raises(ValueError, match="full saturates at 100 requests/s, asked for 100"):
        path_ms([station], 100, count=10)


def test_the_response_of_one_exponential_server_is_exponential() -> None:
    samples = path_ms([Station(name="mm1", service_ms=1)], 800)
    assert samples.mean() == pytest.approx(5, rel=0.02)
    assert np.percentile(samples, 99) == pytest.approx(5 * math.log(100), rel=0.03)


def test_the_p99_of_a_path_is_less_than_the_sum_of_its_p99s() -> None:
    station = Station(name="mm1", service_ms=1)
    whole = np.percentile(path_ms([station] * 4, 500), 99)
    assert whole < 0.7 * 4 * np.percentile(path_ms([station], 500), 99)
    assert whole == pytest.approx(2 * 10.045, rel=0.03)  # Erlang(4) with mean 2 each: 2 × its 99th percentile


def test_what_takes_no_server_only_adds() -> None:
    hop = Station(name="hop", service_ms=0, fixed_ms=3)
    assert path_ms([hop, hop], 1e6, count=5).tolist() == [6] * 5


def test_gamma_has_the_mean_and_spread_it_is_asked_for() -> None:
    times = gamma(5, 0.4, np.random.default_rng(0), 400_000)
    assert times.mean() == pytest.approx(5, rel=0.01)
    assert times.var() / times.mean() ** 2 == pytest.approx(0.4, rel=0.02)
    assert gamma(5, 0, np.random.default_rng(0), 3).tolist() == [5, 5, 5]


@settings(deadline=None)
@given(STATIONS, st.floats(0.01, 0.9), st.floats(1.01, 1.1))
def test_more_load_waits_longer(station: Station, share: float, factor: float) -> None:
    rate = share * station.saturation()
    assert 0 <= station.wait_ms(rate) < station.wait_ms(factor * rate)


@settings(deadline=None)
@given(STATIONS, st.floats(0.05, 0.95))
def test_one_server_more_waits_less(station: Station, share: float) -> None:
    rate = share * station.saturation()
    more = Station(
        name="more", service_ms=station.service_ms, servers=station.servers + 1, scv=station.scv,
        arrivals_scv=station.arrivals_scv,
    )  # fmt: skip
    assert more.wait_ms(rate) < station.wait_ms(rate)


@pytest.mark.parametrize(
    "wrong", [{"servers": 0}, {"service_ms": -1}, {"service_ms": math.nan}, {"share": 1.5}, {"scv": -0.1}]
)
def test_an_impossible_station_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="odd"):
        Station(**{"name": "odd", "service_ms": 1, **wrong})
