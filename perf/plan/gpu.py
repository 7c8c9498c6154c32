"""A GPU as a server of batches: from curves the GPU suite measured, or from the roofline where there are none."""

import math
from dataclasses import dataclass

from perf.plan.bulk import Batches, fit_batches
from perf.plan.curves import Document, from_curves
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


def gpu_of(demand: Demand, profile: Profile, device: Device, curves: Document | None = None) -> Gpu:
    """One replica's GPUs. Raises UnmeasuredError when the curves lack what is needed."""
    needed = memory_gib(demand)
    count = max(1, math.ceil((needed - RUNTIME_GIB) / (device.memory_gib * USABLE - RUNTIME_GIB)))
    if curves is None:
        batches, basis = from_roofline(demand, profile, device, count), f"vendor figures × {EFFICIENCY:g}, assumed"
    else:
        batches, size = from_curves(curves, demand, count)
        basis = f"measured curves, search {size}"
    return Gpu(
        name=device.name, count=count, batches=batches, memory_gib=device.memory_gib, needed_gib=needed, basis=basis
    )


def memory_gib(demand: Demand) -> float:
    """Index and ids of two releases (one serving, one being loaded), scores of a batch, the runtime. The item table
    stays on the host."""
    release = demand.items * (2 * demand.dimension + ID_BYTES)
    scores = min(demand.gpu_batch * demand.items * 4, 1.5 * GIB)
    return (2 * release + scores) / GIB + RUNTIME_GIB


def from_roofline(demand: Demand, profile: Profile, device: Device, count: int = 1) -> Batches:
    """s(b) from the stages' ceilings ÷ `EFFICIENCY`, plus the launches; the search is divided over `count` GPUs."""
    facts, points = _facts(demand, profile), []
    for batch in (*(size for size in SIZES if size < demand.gpu_batch), demand.gpu_batch):
        found = [ceiling(s, device) for s in stages(facts, batch, 1 - demand.hit_rate) if s.name in ON_GPU]
        seconds = sum(one.seconds / (count if one.stage.name == "scan" else 1) for one in found)
        points.append((float(batch), LAUNCH_MS + 1000 * batch * seconds / EFFICIENCY))
    return fit_batches(points, demand.gpu_batch, demand.gpu_window_ms)


def _facts(demand: Demand, profile: Profile) -> Facts:
    """The demand's sizes as a release's; the tower's weights are half of the line's files' floats, at most."""
    return Facts(
        scan=demand.scan.as_flat() if demand.gpu_index == "flat" else demand.scan_fp16,
        record_bytes=profile.stored.item_row,
        trees=demand.trees,
        leaves=demand.leaves,
        depth=demand.depth,
        tower_weights=max(1.0, profile.stored.line / 8),
        candidates=demand.candidates,
    )
