"""GPU 0 as a device: FAISS and cuVS indexes, the FIL engine through nvforest, ONNX Runtime's CUDA provider.

CUDA counts GPUs by speed, nvidia-smi by bus: on a machine with different GPUs set CUDA_DEVICE_ORDER=PCI_BUS_ID.
"""

import gc
from contextlib import suppress
from pathlib import Path

from perf.gpu import smi
from perf.gpu.backends import load_nvforest
from perf.gpu.cuda_cuvs import CUVS_INDEXES, build_cuvs, cuvs_version, free_pool
from perf.gpu.cuda_faiss import FAISS_INDEXES, build_faiss, faiss_facts, warm
from perf.gpu.device import AbsentError, Graph, Kind, Predictor, Searcher
from perf.gpu.graph import OnnxGraph
from perf.gpu.vectors import Vectors

# precision-layout: "native" is what the checkpoint stores (double for LightGBM), "single" is FIL's fast path.
FORESTS = ("native-depth_first", "single-depth_first", "single-breadth_first", "single-layered")


class CudaDevice:
    """The first GPU."""

    kind: Kind = "cuda"
    indexes = (*FAISS_INDEXES, *CUVS_INDEXES)
    forests = FORESTS

    def __init__(self) -> None:
        smi.query()  # nothing below is worth trying without a driver
        with suppress(AbsentError):
            warm()

    def facts(self) -> dict[str, object]:
        """nvidia-smi's, and the libraries' versions."""
        return smi.query() | {"faiss": faiss_facts(), "cuvs": cuvs_version()}

    def memory_mib(self) -> float:
        """Of the GPU, by all processes; what this one could give back is given back first."""
        gc.collect()
        free_pool()
        return smi.used_mib(smi.query())

    def index(self, name: str, vectors: Vectors) -> Searcher:
        """FAISS's or cuVS's."""
        return build_cuvs(name, vectors) if name in CUVS_INDEXES else build_faiss(name, vectors)

    def forest(self, name: str, checkpoint: Path) -> Predictor:
        """The GPU engine of the `fil` backend."""
        return load_nvforest(checkpoint, 0, *name.split("-"))

    def graph(self, path: Path) -> Graph:
        """On the CUDA provider."""
        return OnnxGraph(path, "cuda")
