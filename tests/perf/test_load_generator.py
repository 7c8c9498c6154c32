"""The generator against servers whose behaviour is known. Time only ever adds to a delay: lower bounds are strict."""

from pathlib import Path

import numpy as np
import pytest

from perf.errors import PerfError
from perf.load import ClosedLoop, OpenLoop, Outcome, Target, drive
from perf.load.schedule import Arrivals
from tests.perf import load_server as server
from tests.ports import free_port

USERS = [f"u{number:03d}" for number in range(100)]


def target(port: int, **changes: object) -> Target:
    return Target(host="127.0.0.1", port=port, users=USERS, **changes)  # type: ignore[arg-type]


def run(behaviour: server.Behaviour, load: OpenLoop | ClosedLoop, **changes: object) -> Outcome:
    with server.serving(behaviour) as port:
        return drive(target(port, **changes), load)


def at_once(rate: float = 300, seconds: float = 1.0, seed: int = 0) -> OpenLoop:
    return OpenLoop(rate=rate, seconds=seconds, seed=seed, warm_up_s=0)


def slow(milliseconds: np.ndarray) -> int:
    return int((milliseconds > 500).sum())


def test_known_delays_are_what_it_reports() -> None:
    outcome = run(server.two_speeds, OpenLoop(rate=100, seconds=3, warm_up_s=0.5))
    said = outcome.as_dict()["latency_ms"]
    assert outcome.statuses == {"200": len(outcome)}
    assert outcome.latency_ms.min() >= 20
    assert outcome.service_ms.min() >= 20
    assert 20 <= said["p50"] < 80  # type: ignore[index]
    assert said["p99"] >= 80  # type: ignore[index]
    assert (outcome.latency_ms >= 80).sum() >= len(outcome) // 10
    assert (outcome.service_ms >= 80).sum() >= len(outcome) // 10
    assert (outcome.service_ms <= outcome.latency_ms).all()


def test_a_stall_shows_in_every_request_it_would_have_hit() -> None:
    """200/s and a stall of 1 s: of the requests due in it, those of the first half wait longer than 0.5 s."""
    outcome = run(server.stalls_once, OpenLoop(rate=200, seconds=3, arrivals="constant", warm_up_s=0))
    assert outcome.latency_ms.max() >= 950
    assert 95 <= slow(outcome.latency_ms) < 300


def test_measured_from_the_actual_send_the_stall_hides() -> None:
    load = OpenLoop(rate=200, seconds=3, arrivals="constant", warm_up_s=0)
    outcome = run(server.stalls_once, load, connections=4)
    assert slow(outcome.latency_ms) >= 95
    assert slow(outcome.service_ms) < 10
    assert outcome.waited >= 150


def test_a_closed_loop_hides_the_stall() -> None:
    outcome = run(server.stalls_once, ClosedLoop(clients=4, seconds=2, warm_up_s=0))
    assert outcome.latency_ms.max() >= 950
    assert slow(outcome.latency_ms) < 10


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_every_scheduled_request_is_sent_once(arrivals: Arrivals) -> None:
    load = OpenLoop(rate=500, seconds=1, arrivals=arrivals, warm_up_s=0)
    outcome = run(server.two_speeds, load)
    assert np.allclose(outcome.intended_s, load.times(), atol=1e-6)
    assert {int(number) for number in outcome.releases} == set(range(len(load.times())))
    assert (outcome.sent_s >= outcome.intended_s).all()


def test_warm_up_is_not_counted() -> None:
    load = OpenLoop(rate=400, seconds=0.5, arrivals="constant", warm_up_s=0.5)
    outcome = run(server.two_speeds, load)
    assert len(outcome) == 200
    assert min(int(number) for number in outcome.releases) >= 150  # the server saw the warm-up's before


def test_clients_stop_after_their_requests() -> None:
    outcome = run(server.degrades, ClosedLoop(clients=7, requests=500, warm_up_s=0.1))
    assert outcome.statuses == {"200": 500}
    assert outcome.releases == {"2": 500}
    assert 120 <= outcome.degraded["L2"] <= 130
    assert outcome.degraded["none"] == 500 - outcome.degraded["L2"]
    assert outcome.seconds < 10


def test_connections_are_kept() -> None:
    outcome = run(server.numbers_connections, ClosedLoop(clients=3, requests=600, warm_up_s=0))
    assert sum(outcome.releases.values()) == 600
    assert len(outcome.releases) <= 3


@pytest.mark.parametrize("connections", [1, 1000])
def test_a_server_that_keeps_no_connection_is_served_all_the_same(connections: int) -> None:
    load = at_once(rate=100)
    assert run(server.one_each, load, connections=connections).statuses == {"200": len(load.times())}


def test_refusals_are_counted_and_no_latency() -> None:
    outcome = run(server.unavailable, at_once())
    assert outcome.statuses == {"503": len(outcome)}
    assert outcome.as_dict()["latency_ms"] == {}
    assert outcome.goodput() == 0
    assert outcome.failed_share == 1


def test_answers_that_end_early_are_broken() -> None:
    outcome = run(server.hangs_up, at_once())
    broken = -(-len(outcome) // 5)
    assert outcome.statuses == {"200": len(outcome) - broken, "broken": broken}


@pytest.mark.parametrize("behaviour", [server.garbage, server.off_topic])
def test_what_is_no_recommendation_is_malformed(behaviour: server.Behaviour) -> None:
    outcome = run(behaviour, at_once(rate=100))
    assert outcome.statuses == {"malformed": len(outcome)}


def test_no_answer_is_a_timeout_and_a_latency() -> None:
    outcome = run(server.silent, at_once(rate=400), timeout_s=0.3, connections=2)
    assert outcome.statuses == {"timeout": len(outcome)}
    assert outcome.latency_ms.min() >= 300
    assert np.isnan(outcome.sent_s).any()  # two connections: most were never sent
    assert len(outcome.service_ms) == np.isfinite(outcome.sent_s).sum()


def test_an_answer_in_pieces_is_put_together() -> None:
    outcome = run(server.in_pieces, at_once())
    assert outcome.releases == {"3": len(outcome)}


def test_a_server_that_dies_is_counted() -> None:
    outcome = run(server.dies, at_once())
    assert outcome.statuses["200"] <= 100
    assert outcome.statuses["200"] + outcome.statuses["broken"] == len(outcome)


def test_clients_outlive_their_server() -> None:
    outcome = run(server.dies, ClosedLoop(clients=4, requests=500, seconds=5, warm_up_s=0))
    assert outcome.statuses["broken"] >= 380
    assert sum(outcome.statuses.values()) == 500


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(PerfError, match="run `make serve` first"):
        drive(target(free_port()), at_once())


def test_the_seed_decides_who_asks() -> None:
    with server.serving(server.degrades) as port:
        first, again, other = (drive(target(port, skew=1.0), at_once(seed=seed)).user for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_samples_are_kept(tmp_path: Path) -> None:
    outcome = run(server.degrades, at_once(rate=100))
    outcome.save(tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as kept:
        assert kept["done_s"].tolist() == outcome.done_s.tolist()
        assert set(kept["answers"][kept["answer"]]) == {"200 2 none", "200 2 L2"}
