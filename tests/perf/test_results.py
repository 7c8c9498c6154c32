"""What is stored says where and how it was measured, and two results compare figure by figure."""

import json
from pathlib import Path

import pytest

from perf.diff import Change, compare, conditions, flatten
from perf.errors import PerfError
from perf.results import read, stamped, store


def test_a_result_carries_machine_and_run_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    store(stamped({"rows": [{"p99_ms": 3.5}]}), path)
    found = read(path)
    assert list(found) == ["machine", "run", "rows"]
    assert found["rows"] == [{"p99_ms": 3.5}]
    assert {"cpu", "cores", "revision"} <= found["machine"].keys()
    assert found["run"]["command"].startswith("python -m perf")
    assert found["run"].keys() == {"command", "started_at", "seconds", "code_changed"}


def test_what_a_document_says_of_its_machine_stays() -> None:
    assert stamped({"machine": {"cpu": "another"}})["machine"] == {"cpu": "another"}


def test_a_figure_that_nothing_came_of_is_null() -> None:
    document = stamped({"rows": [{"a": float("nan"), "b": (float("inf"), 1.5)}]})
    assert json.loads(json.dumps(document["rows"], allow_nan=False)) == [{"a": None, "b": [None, 1.5]}]


@pytest.mark.parametrize(
    ("text", "message"), [(None, "measure with `--save"), ("{", "is not JSON"), ("[1]", "holds a list")]
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PerfError, match=message):
        read(path)


def row(model: str, rate: float, p99: float) -> dict[str, object]:
    return {"model": model, "rate": rate, "p99_ms": p99, "error": None}


def test_rows_are_matched_by_what_they_measured() -> None:
    a = {"points": [row("ranker", 50.0, 2.0), row("ranker", 100.0, 4.0)]}
    b = {"points": [row("assemble", 50.0, 9.0), row("ranker", 100.0, 5.0), row("ranker", 50.0, 2.0)]}
    found = {one.path: one.ratio for one in compare(a, b) if one.path.endswith("p99_ms")}
    assert found == {
        "points[model=ranker,rate=50].p99_ms": 1.0,
        "points[model=ranker,rate=100].p99_ms": 1.25,
        "points[model=assemble,rate=50].p99_ms": None,
    }


def test_rows_that_nothing_tells_apart_are_matched_by_place() -> None:
    assert [path for path, _ in flatten({"raw": [1.5, 2.5], "rows": [{"model": "m"}, {"model": "m"}]})] == [
        "raw[0]", "raw[1]", "rows[0].model", "rows[1].model",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "beyond"),
    [(100, 110, False), (100, 111, True), (100, 89, True), (0, 0, False), (0, 1, True), (None, 1, True),
     (1, None, True)],
)  # fmt: skip
def test_tolerance_is_a_share_of_a(a: float | None, b: float | None, beyond: bool) -> None:
    assert Change(path="p", a=a, b=b).beyond(0.1) is beyond


def test_machines_and_runs_are_told_apart_from_figures() -> None:
    a = {"machine": {"cores": 2, "cpu": "x"}, "run": {"seconds": 1.0}, "rps": 10}
    b = {"machine": {"cores": 4, "cpu": "x"}, "rps": 20}
    assert conditions(a, b) == {"machine.cores": (2, 4), "run.seconds": (1.0, None)}
    assert [(one.path, one.ratio) for one in compare(a, b)] == [("rps", 2.0)]
