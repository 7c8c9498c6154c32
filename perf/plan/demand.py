"""What is to be planned for."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from perf.plan.built import Built, nearest
from perf.plan.work import MIB, Scan, Work, forest_visits

GpuIndex = Literal["flat", "ivf"]
ASSUMED_PROBED, ASSUMED_BYTES = 0.02, 136.0  # of an IVF index with a byte a component, where none was built
MAY_BE_ZERO = ("hit_rate", "swap_headroom", "spare", "gpu_window_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Load, limit, catalogue and spare capacity. Sizes are counts, times milliseconds, memory GiB.

    `hit_rate`: share of requests that find their user's embedding cached. `spare`: replicas of each pool that may be
    lost with the limit still held (N+1 is 1). `swap_headroom`: share of every replica's throughput kept free for the
    loading of the next release. `instances`: of each model on a replica's CPU, one thread each; on a GPU it is what the
    model repository says. Eight on 16 cores, one for every two, let a model use half of a replica and cost eight copies
    of the index. `built`: indexes that were built; the nearest in size tells the share of its lists that a query reads
    and the bytes of a vector, unless `probed` and `vector_bytes` do.
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
    probed: float | None = None
    vector_bytes: float | None = None
    built: tuple[Built, ...] = ()
    dimension: int = 128
    triton_cores: int = 16
    instances: int = 8
    redis_gib: float = 32.0
    nic_gbit: float = 25.0
    gpu: str | None = None
    gpu_index: GpuIndex = "flat"
    gpu_batch: int = 64
    gpu_window_ms: float = 0.5

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, int | float):
                _check(name, value)
        for name in ("hit_rate", "swap_headroom", "probed"):
            if (getattr(self, name) or 0) > 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at most 1")
        if self.swap_headroom == 1:
            raise ValueError("swap_headroom is 1: nothing would be left for requests")

    @property
    def index(self) -> Built:
        """The CPU's index, as a release would hold it: the nearest one built, unless the demand says otherwise."""
        known = nearest(self.built, self.items)
        if known is None or self.probed is not None:
            return self._ivf(known)
        return replace(known, items=self.items, vector_bytes=self.vector_bytes or known.vector_bytes)

    def _ivf(self, known: Built | None) -> Built:
        """An IVF index with the share of its lists that is asked for, or assumed."""
        lists = max(1, min(4096, int(4 * self.items**0.5)))
        return Built(
            items=self.items,
            kind="ivf",
            codec="",
            vector_bytes=self.vector_bytes or (known.vector_bytes if known else ASSUMED_BYTES),
            nlist=lists,
            nprobe=max(1, round((self.probed or ASSUMED_PROBED) * lists)),
        )

    @property
    def scan(self) -> Scan:
        """How the CPU's index is searched."""
        return self._scan(self.index)

    @property
    def scan_fp16(self) -> Scan:
        """The GPU's IVF index: the CPU's lists where it has lists, two bytes a component."""
        index = self.index if self.index.nlist else self._ivf(None)
        return replace(self._scan(index), vector_bytes=2 * self.dimension)

    def _scan(self, index: Built) -> Scan:
        return Scan(
            items=self.items, dimension=self.dimension, vector_bytes=index.vector_bytes, nlist=index.nlist,
            nprobe=index.nprobe, walked=index.walked,
        )  # fmt: skip

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


def _check(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, must be a finite number")
    if value < 0 or (value == 0 and name not in MAY_BE_ZERO):
        raise ValueError(f"{name} is {value}, must be positive")
