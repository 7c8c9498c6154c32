"""A GPU as a server of batches: memory and roofline by hand, measured curves in the layout the device suite writes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perf.errors import PerfError
from perf.gpu.report import curves as report_curves
from perf.plan.curves import UnmeasuredError, from_curves, read_curves
from perf.plan.gpu import RUNTIME_GIB, from_roofline, gpu_of, memory_gib
from perf.plan.profile import Costs
from perf.plan.report import sources
from perf.plan.size import Plan, Refusal, attempts
from perf.plan.sweep import as_rows, sweep
from perf.roofline.devices import GIB, named
from tests.perf.planning import DEMAND, PROFILE, ROLES, cpu, gpu, plans


def test_two_indexes_are_resident_on_the_gpu_and_no_table() -> None:
    scores = 64 * 1e6 * 4
    assert memory_gib(DEMAND) == pytest.approx((2 * 1e6 * (256 + 8) + scores) / GIB + RUNTIME_GIB)


def test_a_catalogue_larger_than_a_gpu_is_spread() -> None:
    l4 = named("l4")  # 17.6 GiB for indexes and scores
    assert gpu_of(DEMAND, PROFILE, l4).count == 1
    assert gpu_of(replace(DEMAND, items=32_500_000), PROFILE, l4).count == 1  # 17.48
    assert gpu_of(replace(DEMAND, items=33_000_000), PROFILE, l4).count == 2  # 17.73
    assert gpu_of(replace(DEMAND, items=80_000_000), PROFILE, l4).count == 3  # 40.8


def test_a_flat_search_reads_its_catalogue_once_a_batch() -> None:
    device, demand = named("h100"), replace(DEMAND, items=10_000_000)
    flat = from_roofline(demand, PROFILE, device)
    ivf = from_roofline(replace(demand, gpu_index="ivf"), PROFILE, device)
    assert flat.fixed_ms == pytest.approx(0.3 + 2.56e9 / 3.35e12 * 1000 / 0.4, rel=0.1)
    assert flat.each_ms == pytest.approx(8e7 / 3.35e12 * 1000 / 0.4, rel=0.2)  # a score of every item, written and read
    assert ivf.each_ms > 0.02 * 2.56e9 / 3.35e12 * 1000 / 0.4  # the probed lists, for every query
    assert ivf.service_ms(1) < flat.service_ms(1) / 5


def search(cell: str, items: int, fixed: float, each: float, recall: float = 1.0) -> dict[str, Any]:
    return measured(
        "candidates", cell, items=items, index={}, recall=recall, setting="", memory_mib=1, points=line(fixed, each)
    )


def line(fixed: float, each: float, times: int = 1) -> list[dict[str, float]]:
    return [{"batch": b * times, "ms": fixed + each * b, "p99_ms": 1, "per_second": 1} for b in (1, 16, 64)]


def measured(part: str, cell: str, **facts: Any) -> dict[str, Any]:
    return {
        "part": part,
        "cell": cell,
        "status": "measured",
        "device": {"kind": "cuda"},
        "machine": {"cores": 1},
        **facts,
    }


def graph(name: str, fixed: float, each: float) -> dict[str, Any]:
    return measured("towers", name, graph=name, points=line(fixed, each), bound=[{"ms": 0}] * 3, parity=0)


CELLS = (
    search("1000000-flat-fp16", 1_000_000, 1, 0.05),
    search("10000000-flat-fp16", 10_000_000, 10, 0.14),
    search("1000000-flat-hasty", 1_000_000, 0.1, 0.001, recall=0.6),
    search("1000000-ivf-fp16", 1_000_000, 0.5, 0.02),
    measured("ranker", "fil", engine="fil", parity={"x": 0}, points=line(0.2, 0.01, times=500)),
    graph("user_tower", 0.1, 0.01),
    graph("assemble", 0.2, 0.1),
    graph("item_tower", 9, 9),
)


def document(folder: Path, without: str = "") -> Mapping[str, Any]:
    """What `python -m perf gpu --report` makes of the cells."""
    for cell in CELLS:
        if cell["cell"] != without:
            path = folder / cell["part"] / f"{cell['cell']}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(cell))
    return json.loads(json.dumps(report_curves(folder)))


def test_measured_curves_replace_the_roofline(tmp_path: Path) -> None:
    found, size = from_curves(document(tmp_path), DEMAND)
    assert found.fixed_ms == pytest.approx(1 + 0.2 + 0.1)
    assert found.each_ms == pytest.approx(0.05 + 0.01 + 0.1 * 0.01 + 0.3)  # a tenth of the requests miss
    assert size == "measured at 1,000,000 items"
    assert gpu_of(DEMAND, PROFILE, named("h100"), document(tmp_path)).basis == f"measured curves, search {size}"


def test_between_two_sizes_a_search_is_linear_in_the_items(tmp_path: Path) -> None:
    found, size = from_curves(document(tmp_path), replace(DEMAND, items=4_000_000))
    assert found.fixed_ms == pytest.approx(1 + 3 + 0.2 + 0.1)  # a third of the way from 1 to 10
    assert found.each_ms == pytest.approx(0.08 + 0.01 + 0.1 * 0.01 + 0.3)
    assert size == "interpolated between 1,000,000 and 10,000,000 items"


def test_each_gpu_searches_its_part(tmp_path: Path) -> None:
    halves = from_curves(document(tmp_path), replace(DEMAND, items=20_000_000), count=2)
    assert halves == from_curves(document(tmp_path), replace(DEMAND, items=10_000_000))


def test_a_size_out_of_reach_is_a_way_that_is_refused(tmp_path: Path) -> None:
    between = attempts(replace(DEMAND, items=4_000_000, gpu="h100"), PROFILE, document(tmp_path))[1]
    assert isinstance(between, Plan)
    assert "interpolated" in {row["kind"] for row in sources([between], PROFILE)}
    way = attempts(replace(DEMAND, items=20_000_000, gpu="h100"), PROFILE, document(tmp_path))[1]
    assert isinstance(way, Refusal)
    assert way.why.endswith(
        "no flat search of 20,000,000 items with recall ≥ 0.95; it was measured at 1,000,000, 10,000,000"
    )


def test_the_sweep_goes_on_where_curves_end(tmp_path: Path) -> None:
    cases = sweep(replace(DEMAND, items=2_000_000, gpu="h100"), PROFILE, document(tmp_path))
    rows = [row for row in as_rows(list(cases)) if row["changed"] == "items" and row["variant"] == "gpu"]
    assert [(row["value"], row["gpus"] is not None) for row in rows] == [
        (200_000, False), (1_000_000, True), (2_000_000, True), (4_000_000, True), (10_000_000, True),
    ]  # fmt: skip


def test_curves_without_a_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmeasuredError, match="no ivf search of 2,000,000 items with recall"):
        from_curves(document(tmp_path), replace(DEMAND, items=2_000_000, gpu_index="ivf"))
    (tmp_path / "less").mkdir()
    with pytest.raises(UnmeasuredError, match="hold no assemble; measure it"):
        from_curves(document(tmp_path / "less", without="assemble"), DEMAND)
    with pytest.raises(PerfError, match="holds no GPU curves"):
        read_curves(tmp_path / "none.json")


def test_a_gpu_takes_the_forest_off_the_cores() -> None:
    assert gpu().pool("triton").gpus == 1
    assert gpu().pool("triton").limits["CPU"] == pytest.approx(cpu().pool("triton").limits["CPU"])  # base costs stay
    visits = PROFILE.model_copy(update={"roles": ROLES | {"ranker": Costs(per_million_visits=2)}})
    without, beside = plans(replace(DEMAND, gpu="h100"), visits)
    assert beside.pool("triton").limits["CPU"] > without.pool("triton").limits["CPU"]


def test_beside_a_gpu_instances_are_those_of_the_repository() -> None:
    triton = gpu(replace(DEMAND, instances=3)).pool("triton")
    assert (triton.binds, triton.limits["ranker instances"]) == ("ranker instances", 500)  # one, 2 ms a call


def test_a_processor_is_no_gpu() -> None:
    with pytest.raises(PerfError, match="no gpu 'xeon-8480' in the table; there are h100, "):
        plans(replace(DEMAND, gpu="xeon-8480"), PROFILE)
