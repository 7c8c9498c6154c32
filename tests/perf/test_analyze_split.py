"""Two readings of Triton's statistics → where the time went; by stage for an ensemble."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perf.analyze.plots import breakdown, curves
from perf.analyze.points import Client, Load, Point, Target, row, stage_rows
from perf.analyze.statistics import Counters, Reading, Served, difference, settled
from perf.analyze.sweep import sweep
from perf.errors import PerfError

MS = 1_000_000
ENSEMBLE = Target(
    name="recommend_7", version=1, batch=1, data=Path("recommend.json"), parts=(("candidates", 7), ("ranker", 2))
)
SEEN = Client(
    counted=98, requests_per_second=95.0, mean_ms=10.0, p50_ms=9.0, p90_ms=12.0, p95_ms=14.0, p99_ms=20.0,
    client_send_ms=0.1, client_recv_ms=0.1, network_ms=1.0, delayed_percent=0.0,
)  # fmt: skip


def counters(requests: int, executions: int, queue_ms: float, infer_ms: float) -> Counters:
    """A model that so far spent that much on each request; input and output take 0.5 ms each."""
    return Counters(
        success=requests, executions=executions, total_ns=round(requests * (queue_ms + infer_ms + 1) * MS),
        queue_ns=round(requests * queue_ms * MS), input_ns=requests * MS // 2,
        infer_ns=round(requests * infer_ms * MS), output_ns=requests * MS // 2,
    )  # fmt: skip


def test_only_what_happened_between_the_readings_counts() -> None:
    before = Counters(success=10, fail=1, executions=10, total_ns=900 * MS, queue_ns=700 * MS, infer_ns=200 * MS)
    after = Counters(success=30, fail=4, executions=14, total_ns=1000 * MS, queue_ns=720 * MS, infer_ns=280 * MS)
    stage = difference("candidates", before, after)
    assert (stage.requests, stage.failed, stage.executions) == (20, 3, 4)
    assert (stage.total_ms, stage.queue_ms, stage.compute_infer_ms, stage.compute_input_ms) == (5.0, 1.0, 4.0, 0.0)
    assert stage.requests_per_execution == 5.0


def test_nothing_happened() -> None:
    stage = difference("ranker", counters(5, 5, 1, 1), counters(5, 5, 1, 1))
    assert (stage.requests, stage.total_ms, stage.requests_per_execution) == (0, 0.0, 0.0)


def measured(load: Load, seen: Client = SEEN) -> Point:
    """One point of an ensemble: 2 ms of queue and 3 ms of compute in one stage, 1 and 2.5 in the other."""
    ran = False

    def run(target: Target, load: Load) -> Client:
        nonlocal ran
        ran = True
        return seen

    def read(served: Served) -> Reading:
        spent = {"recommend_7": counters(100, 100, 0, 9), "candidates": counters(100, 25, 2, 2),
                 "ranker": counters(100, 100, 1, 1.5)}  # fmt: skip
        return {model: spent[model[0]] if ran else Counters() for model in served}

    return next(iter(sweep([ENSEMBLE], [load], run, read)))


def test_an_ensemble_is_the_sum_of_its_stages() -> None:
    point = measured(Load(mode="concurrency", value=4))
    found = row(point)
    assert (found["requests"], found["queue_ms"], found["compute_infer_ms"]) == (100, 3.0, 3.5)
    assert found["server_ms"] == 10.0
    assert found["overhead_ms"] == 1.5  # 10 ms at the client; 3 of queue and 5.5 of compute
    assert [(one["stage"], one["requests_per_execution"]) for one in stage_rows(point)] == [
        ("candidates", 4.0),
        ("ranker", 1.0),
    ]


def test_stages_that_overlap_leave_no_negative_overhead() -> None:
    point = measured(Load(mode="concurrency", value=4))
    assert Point(model="m", batch=1, load=point.load, client=SEEN, stages=point.stages * 2).overhead_ms == 0.0


@pytest.mark.parametrize(("counted", "kept"), [(100, True), (90, True), (89, False)])
def test_a_rate_whose_answers_come_after_the_run_was_not_kept_up_with(counted: int, kept: bool) -> None:
    assert measured(Load(mode="rate", value=130.0), replace(SEEN, counted=counted)).kept_up is kept


def test_pictures_show_what_was_measured() -> None:
    points = [
        measured(Load(mode="concurrency", value=4)),
        measured(Load(mode="rate", value=900.0), replace(SEEN, counted=9)),
    ]
    stages = breakdown(points)
    assert stages is not None
    heights = [patch.get_height() for patch in stages.axes[0].patches]
    assert heights == pytest.approx([2.0, 3.0, 1.0, 2.5, 1.5])  # the rate it did not keep up with has no bar
    panel = curves(points).axes[0]
    assert panel.get_title() == "recommend_7"
    assert 20.0 in [float(y) for line in panel.lines for y in line.get_ydata()]  # type: ignore[union-attr]


def test_no_breakdown_without_an_ensemble() -> None:
    assert breakdown([Point(model="ranker", batch=1, load=Load(mode="rate", value=1), error="failed")]) is None


def readings(*requests: int) -> Iterator[Reading]:
    return ({("ranker", 2): counters(n, n, 1, 1)} for n in requests)


def test_leftovers_of_an_earlier_run_are_waited_for() -> None:
    found = readings(1, 5, 9, 9, 12)
    assert settled(lambda served: next(found), [("ranker", 2)], quiet_s=0)["ranker", 2].success == 9


def test_a_triton_that_somebody_else_uses_is_refused() -> None:
    found = readings(1, 2, 3)
    with pytest.raises(PerfError, match="ranker: still busy"):
        settled(lambda served: next(found), [("ranker", 2)], quiet_s=0, patience_s=-1)
