"""The report of the GPU suite from cells that are known."""

import json
from pathlib import Path
from typing import Any

import pytest

from perf.errors import PerfError
from perf.gpu.report import curves, markdown, table, write_report

GPU = {"kind": "cuda", "name": "H200", "memory_mib": 1.0}


def write(folder: Path, part: str, name: str, status: str = "measured", **content: Any) -> None:
    (folder / part).mkdir(parents=True, exist_ok=True)
    cell = {"part": part, "cell": name, "status": status, "device": GPU, "machine": {"cores": 16}, **content}
    (folder / part / f"{name}.json").write_text(json.dumps(cell))


def point(batch: int, ms: float) -> dict[str, float]:
    return {"batch": batch, "ms": ms, "p99_ms": ms * 2, "per_second": 1000 * batch / ms}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "candidates", "1000-exact", items=1000, rows=[[1]])
    search = {"index": "flat-fp16", "items": 1000, "recall": 0.99, "setting": 0, "memory_mib": 256.0}
    write(tmp_path, "candidates", "1000-flat-fp16", points=[point(1, 0.5), point(64, 2.0)], **search)
    write(tmp_path, "candidates", "1000-cuvs-cagra", "absent", reason="cuvs cannot be imported")
    for engine, ms in (("native-depth_first", 4.0), ("single-layered", 2.0)):
        points = [point(500, ms), point(1000, ms * 1.5)]
        write(tmp_path, "ranker", engine, engine=engine, points=points, parity={"treelite": 1e-7, "cpu_engine": 3e-7})
    write(tmp_path, "towers", "user_tower", graph="user_tower", parity=1e-6, points=[point(8, 1.0)],
          bound=[point(8, 0.4)])  # fmt: skip
    for clients in (16, 4):
        rest = {"what": "rest", "clients": clients, "answered_per_second": 100.0 * clients}
        write(tmp_path, "path", f"own-rest-{clients}", **rest, latency_ms={"p50": 1.0, "p99": 3.0})
    client = {"requests_per_second": 900.0, "p50_ms": 2.0, "p99_ms": 5.0}
    write(tmp_path, "path", "own-ensemble-4", what="ensemble", clients=4, client=client)
    return tmp_path


def test_curves_hold_what_the_planner_reads(folder: Path) -> None:
    document = curves(folder)
    assert document["candidates"] == {"1000-flat-fp16": [
        {"items": 1000, "batch": 1, "ms": 0.5, "p99_ms": 1.0, "qps": 2000.0, "recall": 0.99, "setting": 0,
         "memory_mib": 256.0},
        {"items": 1000, "batch": 64, "ms": 2.0, "p99_ms": 4.0, "qps": 32000.0, "recall": 0.99, "setting": 0,
         "memory_mib": 256.0},
    ]}  # fmt: skip
    assert [(p["rows"], p["ms"], p["max_difference"]) for p in document["ranker"]] == [
        (500, 2.0, 3e-7),
        (1000, 3.0, 3e-7),
    ]
    assert set(document["ranker_engines"]) == {"native-depth_first", "single-layered"}
    assert document["towers"]["user_tower"][0] == {
        "batch": 8, "ms": 1.0, "p99_ms": 2.0, "bound_ms": 0.4, "per_second": 8000.0, "max_difference": 1e-6,
    }  # fmt: skip
    assert [(p["clients"], p["per_second"]) for p in document["path"]["own-rest"]] == [(4, 400.0), (16, 1600.0)]
    assert document["path"]["own-ensemble"] == [{"clients": 4, "per_second": 900.0, "p50_ms": 2.0, "p99_ms": 5.0}]
    assert document["missing"] == [{"part": "candidates", "cell": "1000-cuvs-cagra", "status": "absent",
                                    "reason": "cuvs cannot be imported"}]  # fmt: skip
    assert (document["gpu"], document["machine"]) == (GPU, {"cores": 16})


def test_the_report_shows_every_part_and_what_is_missing(folder: Path) -> None:
    document = write_report(folder)
    assert json.loads((folder / "curves.json").read_text()) == document
    assert (folder / "curves.png").stat().st_size > 10_000
    said = (folder / "report.md").read_text()
    assert said == markdown(document)
    for wanted in ("# Device suite: H200", "| 1000 | 64 | 2.0 | 4.0 | 32000.0 | 0.99 |", "Ranker, single-layered",
                   "Graph user_tower", "Whole path, own-rest", "| absent | cuvs cannot be imported |"):  # fmt: skip
        assert wanted in said


def test_a_second_report_does_not_take_the_first_for_a_cell(folder: Path) -> None:
    assert write_report(folder) == write_report(folder)


def test_parts_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path, "towers", "user_tower", "failed", reason="differs")
    document = write_report(tmp_path)
    assert (document["candidates"], document["ranker"], document["towers"]) == ({}, [], {})
    assert document["missing"][0]["reason"] == "differs"


def test_an_empty_folder_says_how_to_measure(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="holds no cell; measure with `python -m perf gpu"):
        curves(tmp_path)


def test_a_table_has_the_columns_of_its_first_row() -> None:
    assert table([{"a": 1, "b": "x"}, {"a": 2, "c": 3}]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 |  |"
