"""What perf_analyzer says becomes a row; what it fails at becomes a reason, and the sweep goes on."""

from pathlib import Path

import pytest

from perf.analyze.points import Client, Load, Point, Target, row
from perf.analyze.runs import command, read, reason, run
from perf.analyze.statistics import Counters, Reading, Served
from perf.analyze.sweep import sweep
from perf.errors import PerfError
from tests.perf.fake_perf_analyzer import COLUMNS, DELAYED, RANKER, SAID, install

TARGET = Target(name="ranker", version=3, batch=500, data=Path("ranker.json"), parts=(("ranker", 3),))


def one(value: float) -> Load:
    return Load(mode="concurrency", value=value)


def idle(served: Served) -> Reading:
    """Triton's counters while nobody asks anything."""
    return {model: Counters() for model in served}


def test_a_file_of_the_real_program_becomes_figures() -> None:
    client = read(f"Concurrency,{COLUMNS}\n1,{RANKER}\n", SAID, batch=500)
    assert client.requests_per_second == pytest.approx(490.034)
    assert (client.p50_ms, client.p90_ms, client.p95_ms, client.p99_ms) == (1.915, 2.252, 2.471, 5.12)
    assert (client.client_send_ms, client.client_recv_ms, client.network_ms) == (0.025, 0.002, 0.379)
    assert client.mean_ms == pytest.approx(2.013)
    assert (client.counted, client.delayed_percent) == (3536, 0)


def test_requests_that_left_late_are_counted() -> None:
    assert read(f"Request Rate,{COLUMNS}\n1000,{RANKER}\n", SAID + DELAYED, batch=1).delayed_percent == 15.31


def test_another_format_is_refused_by_the_column_it_lacks() -> None:
    with pytest.raises(PerfError, match="no number in 'p50 latency'"):
        read("Concurrency,Inferences/Second,request/response,response wait\n1,10,1,1\n", SAID, batch=1)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (one(4), ["--concurrency-range", "4"]),
        (
            Load(mode="rate", value=62.5),
            ["--request-rate-range", "62.5", "--async", "--request-distribution", "poisson"],
        ),
    ],
)
def test_the_command_line(tmp_path: Path, load: Load, words: list[str]) -> None:
    said = command(install(tmp_path), "127.0.0.1:8001", TARGET, load, 6, tmp_path / "result.csv")
    assert " ".join(words) in " ".join(said)
    assert said[said.index("-x") + 1] == "3"
    assert said[said.index("-b") + 1] == "500"
    assert said[said.index("--measurement-interval") + 1] == "2000"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("*** Settings ***\nerror: unknown model: 'x' is not found\n\n", "unknown model: 'x' is not found"),
        ("Failed to obtain stable measurement.\nConcurrency: 1\n", "Failed to obtain stable measurement."),
        ("one\ntwo\n", "two"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_reason_is_the_line_that_tells(said: str, expected: str) -> None:
    assert reason(said) == expected


def drive(folder: Path, seconds: float = 1.5) -> list[Point]:
    binary = install(folder)

    def measure(target: Target, load: Load) -> Client:
        return run(binary, "127.0.0.1:1", target, load, seconds, folder / "result.csv")

    return list(sweep([TARGET], [one(1), one(13), one(14), one(2)], measure, idle))


def test_a_failing_point_has_its_reason_and_the_sweep_goes_on(tmp_path: Path) -> None:
    points = drive(tmp_path)
    assert [point.load.value for point in points] == [1, 13, 14, 2]
    assert [point.client is not None for point in points] == [True, False, False, True]
    assert points[1].error is not None
    assert points[1].error.startswith("Failed to init manager inputs: missing tensor input__0")
    assert points[2].error == "reported no measurement, saying: Throughput: 245017 infer/sec"


def test_a_stalled_run_ends_at_its_limit(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="did not end within 1 s"):
        run(install(tmp_path), "127.0.0.1:1", TARGET, one(15), 0.1, tmp_path / "result.csv", start_s=0.6)


def test_a_triton_that_is_gone_costs_no_points(tmp_path: Path) -> None:
    def gone(served: Served) -> Reading:
        raise PerfError("Triton at 127.0.0.1:1 gives no statistics: Deadline Exceeded")

    def unreachable(target: Target, load: Load) -> Client:
        raise AssertionError("nothing is to be run")

    points = list(sweep([TARGET], [one(1), one(2)], unreachable, gone))
    assert ["gives no statistics" in (point.error or "") for point in points] == [True, True]


def test_rows_of_failed_and_good_points_have_the_same_columns(tmp_path: Path) -> None:
    good, failed, *_ = map(row, drive(tmp_path))
    assert good.keys() == failed.keys()
    assert (good["p99_ms"], failed["p99_ms"]) == (5.12, None)
    assert (good["error"], good["counted"], failed["kept_up"]) == (None, 3536, False)


@pytest.mark.parametrize(("mode", "value"), [("concurrency", 0), ("rate", -1.0), ("concurrency", 1.5)])
def test_an_impossible_load_is_refused(mode: str, value: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Load(mode=mode, value=value)  # type: ignore[arg-type]
