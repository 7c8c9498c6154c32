"""Bytes, FLOPs and visits counted by hand; what binds; a release read back; achieved rates found in results."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from exporters.forest import export_forest
from exporters.manifest import FileEntry, IndexFacts, Manifest, Slot
from perf.errors import PerfError
from perf.plan.work import Scan, item_row_bytes, line_bytes, record_bytes, scan_of
from perf.roofline.ceiling import as_rows, ceiling, ceilings, read_achieved, whole
from perf.roofline.devices import DEVICES, Device, loopback_call, named, sgemm_flops, walk
from perf.roofline.facts import Facts, forest, resized
from perf.roofline.plot import plot
from perf.roofline.stages import Stage, stages

IVF = Scan(items=1_000_000, dimension=128, vector_bytes=136, nlist=1000, nprobe=10)
FACTS = Facts(
    scan=IVF, record_bytes=600, trees=300, leaves=64, depth=6, tower_weights=100_000, user_width=100, item_width=60,
    context_width=20, ranker_width=160,
)  # fmt: skip
DEVICE = Device(
    name="d", kind="cpu", bytes_per_s=1e9, flops=1e12, memory_gib=1, source="", visits_per_s=1e9, call_s=1e-3, cores=2
)


def by_name(facts: Facts = FACTS, batch: int = 1, misses: float = 0.0) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages(facts, batch, misses)}


def test_stages_counted_by_hand() -> None:
    found = by_name()
    assert found["scan"].flops == 2 * 10_000 * 128
    assert found["scan"].bytes == 10_000 * 136 + 2 * 4 * 10_000
    assert (found["coarse"].bytes, found["coarse"].flops) == (4 * 1000 * 128, 2 * 1000 * 128)
    assert found["gather"].bytes == 500 * (600 + 56 + 4 * 60)
    assert found["ranker"].visits == 500 * 300 * 6
    assert found["assemble"].bytes == 4 * (100 + 20 + 500 * 60) + 4 * 500 * 160
    assert found["redis"].calls == 1
    assert found["grpc"].calls == 4


def test_a_batch_shares_a_flat_catalogue_but_not_lists() -> None:
    flat = resized(FACTS, None, flat=True)
    one, many = by_name(flat)["scan"], by_name(flat, batch=64)["scan"]
    scores = 8 * 1_000_000
    assert (one.bytes, many.bytes) == (256e6 + scores, 256e6 / 64 + scores)
    assert by_name(batch=64)["scan"].bytes == by_name()["scan"].bytes
    assert by_name(batch=64)["coarse"].bytes == by_name()["coarse"].bytes / 64


def test_the_tower_is_paid_by_those_who_miss() -> None:
    assert by_name()["user_tower"].flops == 0
    half = by_name(misses=0.5, batch=10)["user_tower"]
    assert half.flops == 100_000
    assert half.bytes == 0.5 * (4e5 / 10 + 4 * (100 + 128))


def test_a_gather_reads_whole_lines() -> None:
    lines = [(first + 232 + 63) // 64 - first // 64 for first in range(0, 64 * 232, 8)]  # wherever a record begins
    whole = 64 * float(np.mean(lines))
    assert by_name(replace(FACTS, record_bytes=232))["gather"].bytes == 500 * (whole + 240)


@pytest.mark.parametrize(
    ("stage", "binds", "rate"),
    [
        (Stage(name="s", model="m", bytes=1e6, flops=1e6), "bytes", 1e3),
        (Stage(name="s", model="m", bytes=1e3, flops=1e9), "FLOPs", 1e3),
        (Stage(name="s", model="m", bytes=1e3, visits=1e6), "node visits", 1e3),
        (Stage(name="s", model="m", bytes=1e3, calls=1), "calls", 2e3),
    ],
)
def test_what_binds(stage: Stage, binds: str, rate: float) -> None:
    found = ceiling(stage, DEVICE)
    assert (found.binds, found.rate) == (binds, pytest.approx(rate))


def test_achieved_is_of_all_stages_of_a_model() -> None:
    found = ceilings(stages(FACTS, misses=0.1), DEVICE, {"candidates": 100.0, "user_tower": 50.0})
    rows = {str(row["stage"]): row for row in as_rows(found)}
    model = sum(one.seconds for one in found if one.stage.model == "candidates")
    assert rows["scan"]["achieved_of_ceiling"] == rows["gather"]["achieved_of_ceiling"] == round(100 * model, 4)
    assert rows["user_tower"]["achieved_rps"] == 500  # a tenth of the requests ask it
    assert rows["ranker"]["achieved_rps"] is None
    assert whole(found) == pytest.approx(1 / sum(one.seconds for one in found))


def test_a_gpu_has_no_redis_and_idle_stages_are_left_out() -> None:
    names = [one.stage.name for one in ceilings(stages(resized(FACTS, 10_000_000, flat=True)), named("h100"))]
    assert names == ["scan", "gather", "assemble", "ranker"]


def test_half_a_millisecond_for_ten_million_items() -> None:
    scan = by_name(resized(FACTS, 10_000_000, flat=True), batch=1_000_000)["scan"]
    assert (scan.bytes - 8e7) * 1_000_000 / named("h200").bytes_per_s == pytest.approx(0.53e-3, rel=0.01)


def test_rates_are_found_in_stored_results(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    rows = [{"model": "ranker", "requests_per_second": rate} for rate in (700.0, 900.0, 800.0)]
    path.write_text(json.dumps({"models": rows, "whole_path": {"cpu_ms_per_request": {"orchestrator": 0.5}}}))
    assert read_achieved(path, cores=2) == {"ranker": 900, "orchestrator": 4000}
    path.write_text("{}")
    with pytest.raises(PerfError, match="holds no rates"):
        read_achieved(path, cores=2)
    with pytest.raises(PerfError, match="no stored result"):
        read_achieved(tmp_path / "none.json", cores=2)


def test_a_forest_is_measured_from_its_checkpoint(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(2000, 4))
    data = lgb.Dataset(X, (X[:, 0] + X[:, 1] > 0).astype(int))
    booster = lgb.train({"objective": "binary", "num_leaves": 8, "verbosity": -1}, data, 5)
    booster.save_model(str(tmp_path / "forest.txt"))
    export_forest(tmp_path / "forest.txt", tmp_path / "checkpoint.tl")
    found = booster.trees_to_dataframe()
    leaves = found[found["left_child"].isna()]
    trees, mean_leaves, depth = forest(tmp_path / "checkpoint.tl")
    assert (trees, mean_leaves) == (5, len(leaves) / 5)
    assert depth == pytest.approx((leaves.groupby("tree_index")["node_depth"].mean() - 1).mean())


def manifest(**index: object) -> Manifest:
    sizes = {"index.faiss": 10**6, "keys.npy": 8000, "records.npy": 100_000, "table.json": 77, "golden_users.npy": 9}
    files = {name: FileEntry(size=size, sha256="0" * 64) for name, size in sizes.items()}
    line = {"model.onnx": FileEntry(size=500, sha256="0" * 64)}
    facts = {"kind": "ivf", "items": 1000, "dimension": 128, "candidates": 500, "recall": 1.0, "bytes_per_item": 136}
    return Manifest(
        release=1, line=1, schema_hash="s", tower_digest="d", source="x", as_of="2026-10-01", libraries={}, gates={},
        metrics={}, created_at=datetime(2026, 1, 1, tzinfo=UTC), index=IndexFacts(**(facts | index)),
        slots={"candidates": Slot(model="candidates", version=1, files=files),
               "user_tower": Slot(model="user_tower", version=1, files=line)},
    )  # fmt: skip


def test_a_release_says_what_it_stores() -> None:
    assert item_row_bytes(manifest()) == 108
    assert record_bytes(manifest()) == 100
    assert line_bytes(manifest()) == 500
    assert scan_of(manifest(nlist=50, nprobe=5)).share == 0.1
    assert scan_of(manifest(kind="flat")).share == 1
    assert scan_of(manifest(kind="hnsw", ef_search=10)).share == 0.32


def test_named_devices() -> None:
    assert named("h200").bytes_per_s == 4.8e12
    assert all(device.source for device in DEVICES.values())
    with pytest.raises(PerfError, match="no device 'tpu' in the table; there are h100"):
        named("tpu")


def test_this_machine_computes() -> None:
    assert sgemm_flops(128) > 1e8
    assert 0 < loopback_call(20) < 1


def test_each_step_of_a_walk_follows_the_last() -> None:
    assert walk(np.array([1, 2, 3, 0]), np.array([0, 3]), 2).tolist() == [2, 1]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "roof.png"
    plot(ceilings(stages(FACTS, misses=0.1), DEVICE, {"ranker": 3.0}), DEVICE, 1, path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"misses": 2.0}])
def test_an_impossible_batch_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need at least 1, and a share"):
        stages(FACTS, **wrong)
