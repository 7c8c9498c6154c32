"""What a machine can do at most: named ones as their makers state it, this one as measured by `measure`.

Roofline: Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, Communications of the ACM 52 (2009).
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from perf.errors import PerfError

Kind = Literal["gpu", "cpu"]
Numbers = npt.NDArray[np.int64]
GIB = 2**30
VISITS_A_CORE = 1.4e9  # as measured on a core of ours; no maker states it
NODE_BYTES = 8  # a compact forest node: feature, threshold, distance to the children


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Peak bytes/s of memory, dense FLOP/s (fp16 on a GPU, fp32 on a CPU), forest nodes visited/s, seconds a call.

    A GPU's node visits are bounded by its memory, 8 bytes a node; the makers state no such figure.
    """

    name: str
    kind: Kind
    bytes_per_s: float
    flops: float
    memory_gib: float
    source: str
    visits_per_s: float = 0.0
    call_s: float = 10e-6
    cores: int = 1

    def __post_init__(self) -> None:
        if min(self.bytes_per_s, self.flops, self.memory_gib, self.call_s) <= 0:
            raise ValueError(f"{self.name}: a device has bandwidth, FLOPs and memory")

    @property
    def visits(self) -> float:
        """Forest nodes per second."""
        return self.visits_per_s or self.bytes_per_s / NODE_BYTES


def _gpu(name: str, tb_per_s: float, tflops: float, gb: float, source: str) -> Device:
    memory = gb * 1e9 / GIB
    return Device(
        name=name, kind="gpu", bytes_per_s=tb_per_s * 1e12, flops=tflops * 1e12, memory_gib=memory, source=source
    )


def _cpu(name: str, gb_per_s: float, tflops: float, cores: int, source: str) -> Device:
    return Device(
        name=name,
        kind="cpu",
        bytes_per_s=gb_per_s * 1e9,
        flops=tflops * 1e12,
        visits_per_s=cores * VISITS_A_CORE,
        memory_gib=512,
        cores=cores,
        source=source,
    )


DEVICES = {
    "h100": _gpu("H100 SXM", 3.35, 989.5, 80, "NVIDIA H100 data sheet: 3.35 TB/s, fp16 1,979 TFLOPS sparse"),
    "h100-pcie": _gpu("H100 PCIe", 2.0, 756.5, 80, "NVIDIA H100 PCIe data sheet: 2 TB/s, fp16 1,513 TFLOPS sparse"),
    "h200": _gpu("H200", 4.8, 989.5, 141, "NVIDIA H200 data sheet: 4.8 TB/s, fp16 1,979 TFLOPS sparse"),
    "a100": _gpu("A100 80 GB SXM", 2.039, 312, 80, "NVIDIA A100 data sheet: 2,039 GB/s, fp16 312 TFLOPS"),
    "l40s": _gpu("L40S", 0.864, 362, 48, "NVIDIA L40S data sheet: 864 GB/s, fp16 362 TFLOPS dense"),
    "l4": _gpu("L4", 0.3, 121, 24, "NVIDIA L4 data sheet: 300 GB/s, fp16 242 TFLOPS sparse"),
    "a10g": _gpu("A10G", 0.6, 70, 24, "NVIDIA A10G data sheet: 600 GB/s, fp16 70 TFLOPS dense"),
    "xeon-8480": _cpu("Xeon 8480+", 307.2, 7.2, 56, "8 channels DDR5-4800; 56 × 2.0 GHz × 64 fp32 FLOP a cycle"),
    "epyc-9654": _cpu("EPYC 9654", 460.8, 7.4, 96, "12 channels DDR5-4800; 96 × 2.4 GHz × 32 fp32 FLOP a cycle"),
}


def named(name: str, kind: Kind | None = None) -> Device:
    """A device of the table, of one kind if that is asked for. Raises PerfError naming those there are."""
    known = [known for known, device in DEVICES.items() if kind in (None, device.kind)]
    if name not in known:
        raise PerfError(f"no {kind or 'device'} {name!r} in the table; there are {', '.join(known)}")
    return DEVICES[name]


def measure(cores: int, memory_gib: float) -> Device:
    """This machine, one thread each, times `cores` where cores multiply: FLOPs and node visits; not bandwidth, which
    they share. About three seconds."""
    return Device(
        name="this machine",
        kind="cpu",
        bytes_per_s=copy_bandwidth(),
        flops=cores * sgemm_flops(),
        visits_per_s=cores * node_visits(),
        call_s=loopback_call(),
        memory_gib=memory_gib,
        cores=cores,
        source="measured here, one thread each: copy, sgemm, chains of dependent loads in cache, TCP loopback call",
    )


def copy_bandwidth(mib: int = 256) -> float:
    """Bytes/s of STREAM's copy (McCalpin, 1995): read and written, arrays far larger than the caches."""
    source = np.ones(mib * 2**20 // 8)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def sgemm_flops(size: int = 1024) -> float:
    """FLOP/s of a float32 matrix product on one thread: 2·n³."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a, b = torch.ones(size, size), torch.ones(size, size)
        return 2 * size**3 / _best(lambda: torch.mm(a, b))
    finally:
        torch.set_num_threads(threads)


def node_visits(nodes: int = 2**14, rows: int = 2**14, steps: int = 16) -> float:
    """Forest nodes/s on one thread: `rows` independent walks side by side, each a chain of `steps` loads of which every
    one says where the next is, in a table that stays in the cache, as a forest's nodes do."""
    rng = np.random.default_rng(0)
    follow, at = rng.permutation(nodes), rng.integers(0, nodes, rows)
    return rows * steps / _best(lambda: walk(follow, at, steps))


def walk(follow: Numbers, at: Numbers, steps: int) -> Numbers:
    """Where each of the walks [rows] is after following the table `steps` times."""
    for _ in range(steps):
        at = np.take(follow, at, mode="clip")
    return at


def loopback_call(calls: int = 2000) -> float:
    """Seconds of one round trip of 64 bytes between two threads over a loopback TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    thread = threading.Thread(target=_echo, args=(theirs,))
    thread.start()
    with ours:
        taken = _best(lambda: _round_trips(ours, calls), times=3) / calls
    thread.join()
    return taken


def _round_trips(ours: socket.socket, calls: int) -> None:
    for _ in range(calls):
        ours.sendall(b"x" * 64)
        ours.recv(64)


def _echo(theirs: socket.socket) -> None:
    with theirs:
        while said := theirs.recv(64):
            theirs.sendall(said)


def _best(work: Callable[[], object], times: int = 7) -> float:
    """The shortest of several runs: what the machine can do, not what its neighbours let it do."""
    work()
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)
