"""What the suite asks of a device. Two implementations: `perf.gpu.cpu` (numpy memory) and `perf.gpu.cuda`.

Every call answers when its result lies in host memory, so a host clock around it includes both copies and the
device's work; nothing is left running. Only `Graph.bind` keeps its tensors on the device.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.vectors import Floats, Ints
from perf.errors import PerfError
from perf.gpu.vectors import Vectors

Kind = Literal["cpu", "cuda"]
Arrays = Mapping[str, npt.NDArray[np.generic]]


class AbsentError(PerfError):
    """A driver or a package is not there: the cell is recorded as absent with this reason, and the part goes on."""


class Searcher(Protocol):
    """A filled index. `settings` goes from cheap to thorough (nprobe, itopk); (0,) where there is nothing to set."""

    settings: tuple[int, ...]

    def search(self, queries: Floats, k: int, setting: int) -> Ints:
        """[b, d] → rows [b, k] of the best by inner product; −1 where an index found fewer."""


class Predictor(Protocol):
    """A loaded forest."""

    def predict(self, X: Floats) -> Floats:
        """[n, features] → [n, classes], after the model's own post-processor."""


class Graph(Protocol):
    """An open ONNX graph with one output."""

    def run(self, inputs: Arrays) -> Floats:
        """Host arrays in, host array out."""

    def bind(self, inputs: Arrays) -> Callable[[], None]:
        """Copy the inputs to the device once; each call of the answer runs the graph there and waits for it."""


class Device(Protocol):
    """One device: what it is, how much of its memory is used, and what runs on it."""

    kind: Kind

    @property
    def indexes(self) -> tuple[str, ...]:
        """Names `index` knows: how vectors are searched, then how they are stored."""

    @property
    def forests(self) -> tuple[str, ...]:
        """Names `forest` knows."""

    def facts(self) -> dict[str, object]:
        """What the figures were measured on, stored in every cell."""

    def memory_mib(self) -> float:
        """Memory in use now: of the GPU by all processes, or this process's resident memory."""

    def index(self, name: str, vectors: Vectors) -> Searcher:
        """Build one of `indexes` over all the vectors. Raises AbsentError."""

    def forest(self, name: str, checkpoint: Path) -> Predictor:
        """Load a Treelite checkpoint for one of `forests`. Raises AbsentError."""

    def graph(self, path: Path) -> Graph:
        """Open an ONNX file. Raises AbsentError."""


def open_device(kind: Kind) -> Device:
    """The device by name. Raises PerfError when there is no GPU."""
    if kind == "cpu":
        from perf.gpu.cpu import CpuDevice

        return CpuDevice()
    from perf.gpu.cuda import CudaDevice

    return CudaDevice()
