"""The ONNX graphs on one device: parity with the CPU provider, then batches with host arrays and with bound ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_repository.contract import ASSEMBLE, CANDIDATES, ITEM_TOWER, USER_TOWER
from perf.gpu.cells import Cells, Status
from perf.gpu.device import Arrays, Device, Graph
from perf.gpu.graph import OnnxGraph, random_inputs
from perf.gpu.parity import gate
from perf.gpu.timing import sweep

PART = "towers"
TOLERANCE = 1e-4  # FP32 sums in another order; TF32 is off
BATCHES = {
    USER_TOWER.name: (1, 8, 64, 512),
    ITEM_TOWER.name: (1, 64, 512, 4096),
    ASSEMBLE.name: (1, 2, 4, 8),  # requests of 500 candidates
}


def measure_towers(
    cells: Cells, graphs: Path, batches: dict[str, Sequence[int]] | None = None, seconds: float = 1.0,
    candidates: int = CANDIDATES,
) -> dict[str, Status]:  # fmt: skip
    """A cell for each graph; `graphs` is the folder of a line."""
    outcome: dict[str, Status] = {}
    for name, sizes in (batches or BATCHES).items():
        work = partial(_measure, cells.device, graphs / f"{name}.onnx", sizes, seconds, candidates)
        outcome[name] = cells.measure(PART, name, work)
    return outcome


def parity(graph: Graph, path: Path, candidates: int) -> float:
    """Largest difference from the CPU provider over 32 rows. Raises ParityError beyond 1e-4."""
    inputs = random_inputs(path, 32, candidates, seed=1)
    return gate(path.stem, graph.run(inputs), OnnxGraph(path, "cpu").run(inputs), TOLERANCE)


def _measure(device: Device, path: Path, sizes: Sequence[int], seconds: float, candidates: int) -> dict[str, Any]:
    before = device.memory_mib()
    graph = device.graph(path)
    difference = parity(graph, path, candidates)
    made = {size: random_inputs(path, size, candidates) for size in sizes}
    return {
        "graph": path.stem, "parity": difference, "tf32": False, "row": _row(made[min(sizes)]),
        "memory_mib": round(device.memory_mib() - before, 1),
        "clock": "host; points: host arrays in and out; bound: tensors stay on the device, outputs awaited",
        "points": sweep(lambda size: lambda _: graph.run(made[size]), sizes, seconds),
        "bound": sweep(lambda size: _bound(graph, made[size]), sizes, seconds),
    }  # fmt: skip


def _bound(graph: Graph, inputs: Arrays) -> Any:
    once = graph.bind(inputs)
    return lambda _: once()


def _row(inputs: Arrays) -> dict[str, list[int]]:
    return {name: list(np.shape(array))[1:] for name, array in inputs.items()}
