"""A GPU as a server of batches: from curves the GPU suite measured, or from the roofline where there are none."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perf.errors import PerfError
from perf.plan.bulk import Batches, fit_batches
from perf.plan.demand import Demand
from perf.plan.profile import Profile
from perf.roofline.ceiling import ceiling
from perf.roofline.devices import GIB, Device
from perf.roofline.facts import Facts
from perf.roofline.stages import stages

EFFICIENCY = 0.4  # assumed share of the roofline that kernels reach; replaced by curves where they are given
LAUNCH_MS = 0.3  # assumed: about thirty kernel launches and copies a batch
ON_GPU = ("user_tower", "coarse", "scan", "assemble", "ranker")
RUNTIME_GIB = 3.0  # assumed: CUDA context, ONNX Runtime's arena, FAISS' temporary memory
USABLE = 0.92  # of the memory
ID_BYTES = 8
RECALL = 0.95
SIZES = (1, 4, 16, 64, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What one replica's GPUs do with batches; `count` share an index that one can't hold twice."""

    name: str
    count: int
    batches: Batches
    memory_gib: float
    needed_gib: float
    basis: str


def gpu_of(demand: Demand, profile: Profile, device: Device, curves: Path | None = None) -> Gpu:
    """One replica's GPUs. Raises PerfError when the curves lack what is needed."""
    needed = memory_gib(demand, profile)
    count = max(1, -(-int(needed - RUNTIME_GIB) // max(1, int(device.memory_gib * USABLE - RUNTIME_GIB))))
    if curves is None:
        batches, basis = from_roofline(demand, profile, device, count), f"vendor figures × {EFFICIENCY:g}, assumed"
    else:
        batches, basis = from_curves(_read(curves), demand), f"measured curves, {curves.name}"
    return Gpu(
        name=device.name, count=count, batches=batches, memory_gib=device.memory_gib, needed_gib=needed, basis=basis
    )


def memory_gib(demand: Demand, profile: Profile) -> float:
    """Index, ids and item table of two releases (one serving, one being loaded), scores of a batch, the runtime."""
    vector = 2 * demand.dimension
    release = demand.items * (vector + ID_BYTES + profile.stored.item_row)
    scores = min(demand.gpu_batch * demand.items * 4, 1.5 * GIB)
    return (2 * release + scores) / GIB + RUNTIME_GIB


def from_roofline(demand: Demand, profile: Profile, device: Device, count: int = 1) -> Batches:
    """s(b) from the stages' ceilings ÷ `EFFICIENCY`, plus the launches; the search is divided over `count` GPUs."""
    facts, points = _facts(demand, profile), []
    for batch in (*(size for size in SIZES if size < demand.gpu_batch), demand.gpu_batch):
        found = [ceiling(s, device) for s in stages(facts, batch, 1 - demand.hit_rate) if s.name in ON_GPU]
        seconds = sum(one.seconds / (count if one.stage.name == "scan" else 1) for one in found)
        points.append((float(batch), LAUNCH_MS + 1000 * batch * seconds / EFFICIENCY))
    return _line(points, demand)


def from_curves(document: Mapping[str, Any], demand: Demand) -> Batches:
    """The sum of the search's, the ranker's and the graphs' lines: {candidates: {index: [{items, batch, ms, recall}]},
    ranker: [{rows, ms}], towers: {graph: [{batch, ms}]}}. The search is the fastest with recall ≥ 0.95.

    Raises PerfError when the curves lack one of them.
    """
    searches = [_line(points, demand) for points in _searches(document, demand)]
    if not searches:
        raise PerfError(f"the curves hold no {demand.gpu_index} search of {demand.items} items with recall ≥ {RECALL}")
    search = max(searches, key=Batches.saturation)
    ranker = _line([(p["rows"] / demand.candidates, p["ms"]) for p in document.get("ranker", ())], demand)
    tower = _line([(p["batch"], p["ms"]) for p in _graph(document, "user_tower")], demand)
    assemble_ms = _graph(document, "assemble")[0]["ms"]  # a call for each request
    return replace(
        search,
        fixed_ms=search.fixed_ms + ranker.fixed_ms + tower.fixed_ms,
        each_ms=search.each_ms + ranker.each_ms + (1 - demand.hit_rate) * tower.each_ms + assemble_ms,
    )


def _graph(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A graph's points, the smallest batch first."""
    points = document.get("towers", {}).get(name)
    if not points:
        raise PerfError(f"the curves hold no {name}; measure it with `python -m perf gpu --part towers`")
    return sorted(points, key=lambda point: point["batch"])


def _searches(document: Mapping[str, Any], demand: Demand) -> list[list[tuple[float, float]]]:
    chosen = []
    for name, points in document.get("candidates", {}).items():
        good = [p for p in points if p.get("items", demand.items) == demand.items and p.get("recall", 0) >= RECALL]
        if demand.gpu_index in name and len(good) > 1:
            chosen.append([(p["batch"], p["ms"]) for p in good])
    return chosen


def _line(points: list[tuple[float, float]], demand: Demand) -> Batches:
    try:
        return fit_batches(points, demand.gpu_batch, demand.gpu_window_ms)
    except ValueError as error:
        raise PerfError(f"GPU curves: {error}") from None


def _facts(demand: Demand, profile: Profile) -> Facts:
    """The demand's sizes as a release's; the tower's weights are half of the line's files' floats, at most."""
    return Facts(
        scan=demand.scan.as_flat() if demand.gpu_index == "flat" else demand.scan_fp16,
        item_row_bytes=profile.stored.item_row,
        trees=demand.trees,
        leaves=demand.leaves,
        depth=demand.depth,
        tower_weights=max(1.0, profile.stored.line / 8),
        candidates=demand.candidates,
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PerfError(f"{path} holds no GPU curves: {error}; make them with `python -m perf gpu`") from None
    return dict(document)
