"""The drills' own parts: what counts as passed, what the load notices, and that every fault has one."""

import time
from collections.abc import Iterator

import pytest

from orchestrator.errors import UnavailableError
from perf.drill.front import read_answer, sample
from perf.drill.load import Load
from perf.drill.registry import ALL, chosen
from perf.drill.report import Drill, Report, Result
from perf.errors import PerfError
from perf.load import Target
from tests.orchestrator.conftest import World, patient
from tests.orchestrator.live import live

FAULTS = {1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 20, 23, 24, 25, 26, 27, 28, 29, 31, 32, 33}


def test_every_fault_has_a_drill_and_every_drill_says_what_it_does() -> None:
    assert {drill.fault for drill in ALL} >= FAULTS
    assert len({drill.name for drill in ALL}) == len(ALL) >= 20
    assert all(drill.what.rstrip(")").endswith(".") for drill in ALL)


def test_drills_are_chosen_by_name() -> None:
    assert chosen([]) == chosen(["all"]) == list(ALL)
    assert [drill.name for drill in chosen(["overload", "triton-killed", "overload"])] == ["overload", "triton-killed"]
    with pytest.raises(PerfError, match="no drill is called nonsense"):
        chosen(["overload", "nonsense"])


def test_a_limit_that_is_passed_fails_the_drill() -> None:
    report = Report()
    report.most("ms", 9.99999, 10)
    report.least("goodput", 100.0, 100)
    assert report.problems == []
    report.most("ms", 10.1, 10)
    report.least("goodput", float("-inf"), 100)
    report.expect(False, "nothing came")
    assert report.problems == ["ms is 10.1, at most 10", "goodput is -inf, at least 100", "nothing came"]
    result = Result(drill=Drill(name="x", fault=1, work=lambda *_: None), report=report, seconds=1.26)
    assert result.as_dict()["detail"] == "; ".join(report.problems)
    assert (result.as_dict()["passed"], result.as_dict()["seconds"]) == (False, 1.3)


@pytest.fixture
def world(tmp_path) -> World:  # type: ignore[no-untyped-def]
    return World(tmp_path, patient(2.0))


@pytest.fixture
def port(world: World) -> Iterator[int]:
    with live(world) as port:
        yield port


def loaded(port: int, items: int = 20) -> Load:
    return Load(Target(host="127.0.0.1", port=port, users=[f"u{n}" for n in range(50)], items=items), rate=100.0)


def test_the_load_sees_when_answers_degrade_and_recover(world: World, port: int) -> None:
    with loaded(port) as load:
        time.sleep(0.3)
        broken = time.monotonic()
        world.triton.failure["recommend"] = UnavailableError("x")
        assert load.until(broken, lambda one: not one.full, 5.0) < 5.0
        world.triton.failure.clear()
        mended = time.monotonic()
        assert load.until(mended, lambda one: one.full, 5.0) < 5.0
    report = Report()
    load.judge(report)
    assert report.problems == []
    assert set(report.figures["levels"]) == {"L2", "none"}  # type: ignore[arg-type]
    assert report.figures["reasons"] == {"recommend_unavailable": sum(not one.full for one in load.seen)}
    assert load.first(time.monotonic(), lambda one: True) == float("inf")


def test_an_answer_with_too_few_items_fails_the_drill(world: World, port: int) -> None:
    world.triton.items = 5
    with loaded(port) as load:
        time.sleep(0.1)
    report = Report()
    load.judge(report)
    assert "not every answer was a whole 200: {'wrong': " in report.problems[0]


def test_nobody_there_fails_the_drill() -> None:
    with pytest.raises(PerfError), loaded(9):
        time.sleep(0.1)


class Wire:
    """A socket that gives these pieces, then nothing."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces, b""]

    def recv(self, _: int) -> bytes:
        return self._pieces.pop(0)


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"HTTP/1.1 20", b"0 OK\r\ncontent-length: 2\r\n\r\n", b"{}", b"not read"), 200),
        ((b"HTTP/1.1 503 x\r\n\r\n",), 503),
        ((b"HTTP",), 0),
        ((), 0),
    ],
)
def test_an_answer_is_read_off_the_wire(pieces: tuple[bytes, ...], status: int) -> None:
    found, received = read_answer(Wire(*pieces))  # type: ignore[arg-type]
    assert found == status
    assert b"not read" not in received


def test_samples_are_summed_by_their_labels() -> None:
    text = '# TYPE a counter\na_total{x="1",y="2"} 3\na_total{x="1",y="3"} 4\na_total{x="2",y="2"} 5\n'
    assert (sample(text, "a_total", x="1"), sample(text, "a_total"), sample(text, "b")) == (7, 12, 0)
