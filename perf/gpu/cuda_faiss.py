"""FAISS's GPU indexes, built on the GPU and filled chunk by chunk.

Limits of GPU FAISS: k and nprobe at most 2048 (GpuIndex.h, getMaxKSelection; GpuIndexIVF.cu). A search copies the
queries in and the answers out before it returns, so it needs no further synchronisation.
"""

from functools import cache
from typing import Any

import faiss
import numpy as np

from feature_repo.vectors import Floats, Ints
from perf.gpu.device import AbsentError
from perf.gpu.lists import nlist_of, nprobes, training_sample
from perf.gpu.vectors import Vectors

FAISS_INDEXES = ("flat-fp32", "flat-fp16", "ivf-fp32", "ivf-fp16", "ivf-sq8", "faiss-cuvs-ivf")
MOST_PROBES = 2048
TEMPORARY_BYTES = 1 << 30
KMEANS_ROUNDS = 10


class GpuFaissIndex:
    """A filled index and the resources it lives on."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self._ivf = hasattr(index, "nprobe")
        self.settings = nprobes(index.nlist, MOST_PROBES) if self._ivf else (0,)

    def search(self, queries: Floats, k: int, setting: int) -> Ints:
        """`setting` is nprobe."""
        parameters = faiss.SearchParametersIVF(nprobe=setting) if self._ivf else None
        return np.asarray(self._index.search(queries, k, params=parameters)[1])


def build_faiss(name: str, vectors: Vectors) -> GpuFaissIndex:
    """One of `FAISS_INDEXES` over all the vectors. Raises AbsentError."""
    _require_gpu()
    index = _flat(name, vectors.dimension) if name.startswith("flat") else _trained_ivf(name, vectors)
    for _, rows in vectors.chunks():
        index.add(rows)
    return GpuFaissIndex(index)


def warm() -> None:
    """CUDA's context and FAISS's scratch memory, so that no index is charged with them. Raises AbsentError."""
    _require_gpu()
    index = _flat("flat-fp32", 4)
    index.add(np.eye(4, dtype=np.float32))
    index.search(np.eye(4, dtype=np.float32), 1)


def faiss_facts() -> str:
    """Version and what it was compiled with."""
    return f"{faiss.__version__} {faiss.get_compile_options().strip()}"


def has_cuvs() -> bool:
    """Whether FAISS was built with cuVS (`faiss-gpu-cuvs`)."""
    return "CUVS" in faiss.get_compile_options()


def _require_gpu() -> None:
    if not hasattr(faiss, "StandardGpuResources"):
        raise AbsentError(f"faiss {faiss.__version__} is the CPU build; install faiss-gpu-cu12 in its place")
    if not faiss.get_num_gpus():
        raise AbsentError(f"faiss {faiss.__version__} sees no GPU; check the driver")


@cache
def _resources() -> Any:
    """One for the process: streams, cuBLAS handle and scratch memory are shared by all indexes."""
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(TEMPORARY_BYTES)
    return resources


def _flat(name: str, dimension: int) -> faiss.Index:
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = name == "flat-fp16"
    return faiss.GpuIndexFlat(_resources(), dimension, faiss.METRIC_INNER_PRODUCT, config)


def _trained_ivf(name: str, vectors: Vectors) -> faiss.Index:
    nlist = nlist_of(vectors.items)
    index = _ivf(name, vectors.dimension, nlist)
    index.cp.niter, index.cp.seed = KMEANS_ROUNDS, 1234
    index.train(training_sample(vectors, nlist))
    return index


def _ivf(name: str, dimension: int, nlist: int) -> faiss.Index:
    shape = (_resources(), dimension, nlist)
    if name in ("ivf-fp32", "faiss-cuvs-ivf"):
        flat = faiss.GpuIndexIVFFlatConfig()
        flat.indicesOptions = faiss.INDICES_32_BIT if name == "ivf-fp32" else faiss.INDICES_64_BIT
        flat.use_cuvs = _want_cuvs(name)
        return faiss.GpuIndexIVFFlat(*shape, faiss.METRIC_INNER_PRODUCT, flat)
    scalar = faiss.GpuIndexIVFScalarQuantizerConfig()
    scalar.indicesOptions = faiss.INDICES_32_BIT  # row numbers stay below 2³¹: half the memory of an id
    codec = faiss.ScalarQuantizer.QT_8bit if name == "ivf-sq8" else faiss.ScalarQuantizer.QT_fp16
    return faiss.GpuIndexIVFScalarQuantizer(*shape, codec, faiss.METRIC_INNER_PRODUCT, True, scalar)


def _want_cuvs(name: str) -> bool:
    wanted = name == "faiss-cuvs-ivf"
    if wanted and not has_cuvs():
        raise AbsentError(f"faiss {faiss.__version__} was built without cuVS; install faiss-gpu-cuvs in its place")
    return wanted
