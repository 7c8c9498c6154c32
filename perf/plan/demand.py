"""What is to be planned for."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from perf.plan.work import MIB, Scan, Work, forest_visits

GpuIndex = Literal["flat", "ivf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Load, limit, catalogue and spare capacity. Sizes are counts, times milliseconds, memory GiB.

    `hit_rate`: share of requests that find their user's embedding cached. `spare`: replicas of each pool that may be
    lost with the limit still held (N+1 is 1). `swap_headroom`: share of every replica's throughput kept free for the
    loading of the next release. `probed`: share of an IVF index's lists that a query reads.
    """

    rate: float
    items: int
    users: int
    p99_ms: float = 100.0
    candidates: int = 500
    trees: int = 300
    leaves: int = 64
    hit_rate: float = 0.9
    spare: int = 1
    swap_headroom: float = 0.1
    releases_kept: int = 3
    probed: float = 0.02
    vector_bytes: float = 136.0
    dimension: int = 128
    triton_cores: int = 16
    redis_gib: float = 32.0
    nic_gbit: float = 25.0
    gpu: str | None = None
    gpu_index: GpuIndex = "flat"
    gpu_batch: int = 64
    gpu_window_ms: float = 0.5

    def __post_init__(self) -> None:
        for name in ("hit_rate", "swap_headroom"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1]")
        if self.swap_headroom == 1:
            raise ValueError("swap_headroom is 1: nothing would be left for requests")
        if not 0 < self.probed <= 1:
            raise ValueError(f"probed is {self.probed}, must be in (0, 1]")
        zero = ("hit_rate", "swap_headroom", "spare", "gpu_window_ms")
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, int | float) and (value < 0 or (value == 0 and name not in zero)):
                raise ValueError(f"{name} is {value}, must be positive")

    @property
    def scan(self) -> Scan:
        """The CPU's IVF index, as a release would hold it."""
        lists = max(1, min(4096, int(4 * self.items**0.5)))
        return Scan(
            items=self.items,
            dimension=self.dimension,
            vector_bytes=self.vector_bytes,
            nlist=lists,
            nprobe=max(1, round(self.probed * lists)),
        )

    @property
    def scan_fp16(self) -> Scan:
        """The GPU's IVF index: the same lists, two bytes a component."""
        return replace(self.scan, vector_bytes=2 * self.dimension)

    @property
    def depth(self) -> float:
        """Depth of a balanced tree."""
        return math.log2(max(self.leaves, 2))

    @property
    def work(self) -> Work:
        """An average request, searched on the CPU."""
        return Work(
            candidates=self.candidates,
            visits=forest_visits(self.candidates, self.trees, self.leaves),
            scanned_mib=(self.scan.scanned_bytes + self.scan.coarse_bytes) / MIB,
            misses=1 - self.hit_rate,
        )
