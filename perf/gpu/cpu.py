"""The CPU as a device: the suite's own test bed, and the figures a GPU's are held against."""

import os
from pathlib import Path

import faiss
import numpy as np

from exporters.index import Codec, IndexSpec, empty_index
from feature_repo.vectors import Floats, Ints
from perf.gpu.backends import fil_engine, load_nvforest
from perf.gpu.device import Graph, Kind, Predictor, Searcher
from perf.gpu.graph import OnnxGraph
from perf.gpu.lists import nlist_of, nprobes, training_sample
from perf.gpu.vectors import Vectors
from perf.memory import pss_mib

IVF: dict[str, Codec] = {"ivf-fp32": "fp32", "ivf-fp16": "fp16", "ivf-sq8": "sq8"}


class CpuDevice:
    """FAISS, the served forest and ONNX Runtime on the host."""

    kind: Kind = "cpu"
    indexes = ("flat-fp32", "flat-fp16", *IVF)
    forests = ("trident", "nvforest")

    def facts(self) -> dict[str, object]:
        """FAISS's build; the machine's own facts stand beside it."""
        return {"name": "CPU", "faiss": f"{faiss.__version__} {faiss.get_compile_options().strip()}"}

    def memory_mib(self) -> float:
        """This process's PSS."""
        return pss_mib(os.getpid())

    def index(self, name: str, vectors: Vectors) -> Searcher:
        """Filled chunk by chunk."""
        index = _ivf(IVF[name], vectors) if name in IVF else _flat(name, vectors.dimension)
        for _, rows in vectors.chunks():
            index.add(rows)
        return FaissIndex(index)

    def forest(self, name: str, checkpoint: Path) -> Predictor:
        """The engine that KIND_CPU is served with, on all cores, or that of KIND_GPU in nvforest's CPU mode."""
        return _served(checkpoint) if name == "trident" else load_nvforest(checkpoint, None)

    def graph(self, path: Path) -> Graph:
        """On the CPU provider."""
        return OnnxGraph(path, "cpu")


class FaissIndex:
    """A FAISS index on the host."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self._ivf = isinstance(index, faiss.IndexIVF)
        self.settings = nprobes(index.nlist, index.nlist) if self._ivf else (0,)

    def search(self, queries: Floats, k: int, setting: int) -> Ints:
        """`setting` is nprobe."""
        parameters = faiss.SearchParametersIVF(nprobe=setting) if self._ivf else None
        return np.asarray(self._index.search(queries, k, params=parameters)[1])


def _served(checkpoint: Path) -> Predictor:
    engine: Predictor = fil_engine("forest").Forest(str(checkpoint), threads=len(os.sched_getaffinity(0)))
    return engine


def _flat(name: str, dimension: int) -> faiss.Index:
    if name == "flat-fp32":
        return faiss.IndexFlatIP(dimension)
    return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


def _ivf(codec: Codec, vectors: Vectors) -> faiss.Index:
    nlist = nlist_of(vectors.items)
    spec = IndexSpec(kind="ivf", codec=codec, nlist=nlist)
    return empty_index(spec, training_sample(vectors, nlist))
