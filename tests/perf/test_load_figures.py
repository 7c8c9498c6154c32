"""Schedules, users, answers, figures and the search for the knee, without a server."""

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import pytest
from scipy import stats

from perf.load import ClosedLoop, Knee, OpenLoop, Outcome, Probe, Target
from perf.load.answer import BROKEN, MALFORMED, TIMEOUT, Answer, read
from perf.load.knee import search
from perf.load.outcome import figures, quantile
from perf.load.plot import nines, plot_knee, plot_latency
from perf.load.schedule import arrival_times
from perf.load.users import asking, popularity, repeats

BODY = {"request_id": "r", "user_id": "u", "items": [], "model_version": "12", "variant": "a", "latency_ms": 1.0}
L2 = {"level": "L2", "reasons": ["late"], "coverage": 0.5}


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert arrival_times("constant", 4, 2, seed=0).tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_poisson_arrivals_have_exponential_gaps() -> None:
    times = arrival_times("poisson", 100, 200, seed=3)
    gaps = np.diff(times, prepend=0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 100)).pvalue > 0.01
    assert abs(len(times) - 20_000) < 4 * math.sqrt(20_000)
    assert times[-1] < 200
    assert times[-1] > 199.8


def test_poisson_counts_are_as_spread_as_their_mean() -> None:
    times = arrival_times("poisson", 50, 400, seed=4)
    counts = np.bincount(times.astype(int), minlength=400)
    assert 0.8 < counts.var() / counts.mean() < 1.2


def test_arrivals_are_decided_by_the_seed() -> None:
    first, again, other = (arrival_times("poisson", 10, 10, seed=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: OpenLoop(rate=0), "rate is 0"),
        (lambda: OpenLoop(rate=float("nan")), "rate is nan"),
        (lambda: OpenLoop(rate=1, seconds=0), "seconds is 0"),
        (lambda: OpenLoop(rate=1, warm_up_s=-1), "warm_up_s is -1"),
        (lambda: OpenLoop(rate=1, arrivals="uniform"), "'uniform'"),  # type: ignore[arg-type]
        (lambda: ClosedLoop(clients=0), "clients is 0"),
        (lambda: ClosedLoop(clients=1, requests=0), "requests is 0"),
        (lambda: Target(host="h", port=1, users=[]), "no user"),
        (lambda: Target(host="h", port=1, users=["u"], skew=-1), "skew is -1"),
        (lambda: Target(host="h", port=1, users=["u"], path="x"), "'x'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()  # type: ignore[operator]


def test_a_request_is_what_goes_onto_the_wire() -> None:
    target = Target(host="127.0.0.1", port=80, users=["a", "ü &1"], items=5)
    assert (
        target.request(1) == b"GET /recommend?user_id=%C3%BC%20%261&num_items=5 HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n"
    )


def test_popularity_falls_by_rank() -> None:
    assert popularity(4, 0).tolist() == [0.25] * 4
    assert popularity(3, 1) == pytest.approx([6 / 11, 3 / 11, 2 / 11])


def test_users_ask_by_their_popularity() -> None:
    drawn = np.fromiter(islice(asking(50, 1.0, seed=5), 50_000), int)
    counts = np.sort(np.bincount(drawn, minlength=50))[::-1]
    assert stats.chisquare(counts, 50_000 * popularity(50, 1.0)).pvalue > 0.01


def test_the_most_popular_user_is_not_the_first() -> None:
    favourites = {int(np.bincount(list(islice(asking(50, 2.0, seed=seed), 500))).argmax()) for seed in range(5)}
    assert len(favourites) > 1


def test_repeats_are_users_that_asked_before() -> None:
    assert repeats(np.array([1, 2, 1, 1])) == 0.5
    assert repeats(np.array([], int)) == 0


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (orjson.dumps(BODY | {"degraded": None}), Answer("200", "12", "none")),
        (orjson.dumps(BODY | {"degraded": L2, "timings": {"read": 1.0}}), Answer("200", "12", "L2")),
        (orjson.dumps({"items": [{"title": '"model_version":"7","degraded":null'}]} | BODY | {"degraded": L2}),
         Answer("200", "12", "L2")),
        (orjson.dumps({"items": [{"model_version": "7", "degraded": None}]} | dict(list(BODY.items())[3:])
                      | {"degraded": L2}), Answer("200", "12", "L2")),
        (orjson.dumps(BODY | {"degraded": L2}, option=orjson.OPT_INDENT_2), Answer("200", "12", "L2")),
        (orjson.dumps({"degraded": {"reasons": [], "level": "L4"}, "model_version": 3}), Answer("200", "3", "L4")),
        (orjson.dumps(BODY | {"degraded": None})[:-1], MALFORMED),
        (orjson.dumps(BODY), MALFORMED),
        (b"[]", MALFORMED),
        (b"", MALFORMED),
    ],
)  # fmt: skip
def test_an_answer_says_its_release_and_level(body: bytes, answer: Answer) -> None:
    assert read(200, body) == answer


def test_only_a_200_is_read() -> None:
    assert read(429, b"anything") == Answer("429")


def outcome(**changes: object) -> Outcome:
    """Ten requests a second apart, the last four in trouble; the second was sent 0.5 s late."""
    full, degraded = Answer("200", "1", "none"), Answer("200", "2", "L1")
    intended = np.arange(10.0)
    latency = np.array([0.01, 0.52, 0.03, 0.04, 0.05, 0.06, 5.0, 0.001, 0.002, 0.07])
    values: dict[str, object] = {
        "seconds": 10.0, "intended_s": intended, "started_s": intended + 0.001, "done_s": intended + latency,
        "sent_s": intended + np.array([0, 0.5, 0, 0, 0, 0, np.nan, 0, 0, 0]),
        "user": np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]), "answer": np.array([0, 0, 0, 0, 1, 1, 2, 3, 4, 0], np.int16),
        "answers": (full, degraded, TIMEOUT, BROKEN, Answer("429")),
        "answered_per_second": 0.7, "waited": 1, "generator_cpu_ms": 0.05,
    }  # fmt: skip
    return Outcome(**values | changes)  # type: ignore[arg-type]


def test_counts_are_by_what_the_answers_say() -> None:
    run = outcome()
    assert run.statuses == {"200": 7, "timeout": 1, "broken": 1, "429": 1}
    assert run.releases == {"1": 5, "2": 2}
    assert run.degraded == {"none": 5, "L1": 2}
    assert run.failed_share == pytest.approx(0.3)
    assert run.degraded_share == pytest.approx(2 / 7)


def test_latency_counts_from_the_intended_send_and_timeouts_stay() -> None:
    run = outcome()
    assert run.latency_ms == pytest.approx([10, 520, 30, 40, 50, 60, 5000, 70])
    assert run.service_ms == pytest.approx([10, 20, 30, 40, 50, 60, 70])


def test_goodput_is_what_came_in_time() -> None:
    assert outcome().goodput(100) == pytest.approx(0.6)
    assert outcome().goodput(45) == pytest.approx(0.3)
    assert outcome().offered_per_second == 1


def test_a_late_generator_says_so() -> None:
    assert outcome().as_dict()["generator_late"] is False
    late = outcome(started_s=np.arange(10.0) + 0.006)
    assert late.generator_lag_ms == pytest.approx(6)
    assert late.as_dict()["generator_late"] is True


def test_quantiles_are_values_that_occurred() -> None:
    values = np.arange(1.0, 1001.0)
    np.random.default_rng(0).shuffle(values)
    assert figures(values) == {
        "p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "p99.99": 1000, "max": 1000, "mean": 500.5
    }  # fmt: skip
    assert figures(np.array([])) == {}
    assert quantile(np.array([]), 0.5) == 0


def waiting_line(served: float) -> Callable[[float], Probe]:
    """A probe of an M/M/1 queue: time in it is exponential with rate served - asked.

    Kleinrock, "Queueing Systems", volume 1, 1975.
    """

    def probe(rate: float) -> Probe:
        spare = served - rate
        p50, p99 = (1000 * math.log(share) / spare if spare > 0 else 1e4 for share in (2, 100))
        return Probe(rate=rate, offered=rate, answered=min(rate, served), p50_ms=p50, p99_ms=p99)

    return probe


@pytest.mark.parametrize("start", [1.0, 50.0, 950.0, 5000.0])
def test_the_knee_of_a_known_queue_is_found(start: float) -> None:
    """p99 = ln 100 / (1000 - rate) reaches 100 ms at 1000 - 46.05 requests per second."""
    knee = search(waiting_line(1000), start=start)
    assert 953.95 / 1.05 <= knee.rate <= 953.95
    assert max(probe.rate for probe in knee.probes if probe.holds(100)) == knee.rate


def test_one_bad_probe_decides_nothing() -> None:
    seen: set[float] = set()
    steady = waiting_line(1000)

    def hiccup(rate: float) -> Probe:
        if rate in seen:
            return steady(rate)
        seen.add(rate)
        return Probe(rate=rate, offered=rate, answered=rate, p50_ms=1, p99_ms=900)

    assert 953.95 / 1.05 <= search(hiccup).rate <= 953.95


def test_where_nothing_holds_the_knee_is_zero() -> None:
    knee = search(lambda rate: Probe(rate=rate, offered=rate, answered=rate, p50_ms=150, p99_ms=200))
    assert knee.rate == 0
    assert min(probe.rate for probe in knee.probes) < 2


@pytest.mark.parametrize(
    ("changes", "holds"), [({}, True), ({"p99_ms": 101}, False), ({"answered": 97}, False), ({"failed": 0.002}, False)]
)
def test_a_rate_holds_when_all_is_well(changes: dict[str, float], holds: bool) -> None:
    values = {"rate": 100.0, "offered": 100.0, "answered": 99.0, "p50_ms": 5.0, "p99_ms": 100.0} | changes
    assert Probe(**values).holds(100) is holds


def test_a_late_generator_spoils_the_knee() -> None:
    late = Probe(rate=1, offered=1, answered=1, p50_ms=1, p99_ms=200, generator_lag_ms=6)
    assert Knee(rate=0, limit_ms=100, probes=(late,)).as_dict()["generator_late"] is True
    assert Knee(rate=0, limit_ms=300, probes=(late,)).as_dict()["generator_late"] is False


def test_pictures_are_drawn(tmp_path: Path) -> None:
    assert nines([0, 0.9, 0.99]) == pytest.approx([0, 1, 2])
    plot_latency(outcome(), "title", tmp_path / "run.png")
    plot_knee(search(waiting_line(1000)), "title", tmp_path / "knee.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("run.png", "knee.png"))
