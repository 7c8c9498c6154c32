"""cuVS's own indexes: CAGRA (a graph) and IVF-Flat, through the `cuvs` package, with CuPy holding the vectors.

Without a `resources` argument every call of cuVS is synchronised before it returns (its documentation of `search`).
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from feature_repo.vectors import Floats, Ints
from perf.gpu.device import AbsentError
from perf.gpu.lists import nlist_of, nprobes
from perf.gpu.vectors import Vectors

CUVS_INDEXES = ("cuvs-ivf", "cuvs-cagra")
Parameters = Callable[[int, int], Any]
CAGRA_WIDTHS = (512, 768, 1024, 2048)  # itopk_size
MOST_PROBES = 2048


class CuvsIndex:
    """A built index, the rows it refers to, and how a setting and k become cuVS's search parameters."""

    def __init__(self, module: Any, index: Any, rows: Any, settings: tuple[int, ...], parameters: Parameters) -> None:
        self._module, self._index, self._rows = module, index, rows
        self.settings, self._parameters = settings, parameters
        self._cupy = _package("cupy")

    def search(self, queries: Floats, k: int, setting: int) -> Ints:
        """`setting` is nprobe or itopk_size."""
        on_gpu = self._cupy.asarray(queries)
        _, rows = self._module.search(self._parameters(setting, k), self._index, on_gpu, k)
        return np.asarray(rows.copy_to_host()).astype(np.int64)


def build_cuvs(name: str, vectors: Vectors) -> CuvsIndex:
    """One of `CUVS_INDEXES` over all the vectors. Raises AbsentError."""
    return _cagra(vectors) if name == "cuvs-cagra" else _ivf(vectors)


def cuvs_version() -> str | None:
    """None where it is not installed."""
    try:
        return str(_package("cuvs").__version__)
    except AbsentError:
        return None


def free_pool() -> None:
    """Give back what CuPy keeps of freed arrays, where it is used at all."""
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()


def _cagra(vectors: Vectors) -> CuvsIndex:
    module, rows = _package("cuvs.neighbors.cagra"), _on_gpu(vectors)
    index = module.build(module.IndexParams(metric="inner_product", build_algo="ivf_pq"), rows)

    def parameters(width: int, k: int) -> Any:
        return module.SearchParams(itopk_size=max(width, -(-k // 32) * 32))  # at least k, a multiple of 32

    return CuvsIndex(module, index, rows, CAGRA_WIDTHS, parameters)


def _ivf(vectors: Vectors) -> CuvsIndex:
    module, rows, nlist = _package("cuvs.neighbors.ivf_flat"), _on_gpu(vectors), nlist_of(vectors.items)
    index = module.build(module.IndexParams(n_lists=nlist, metric="inner_product"), rows)
    settings = nprobes(nlist, MOST_PROBES)
    return CuvsIndex(module, index, None, settings, lambda probes, _: module.SearchParams(n_probes=probes))


def _on_gpu(vectors: Vectors) -> Any:
    """[n, d] float32 in GPU memory, copied chunk by chunk."""
    cupy = _package("cupy")
    rows = cupy.empty((vectors.items, vectors.dimension), cupy.float32)
    for first, chunk in vectors.chunks():
        rows[first : first + len(chunk)] = cupy.asarray(chunk)
    return rows


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AbsentError(f"{name} cannot be imported ({error}); install cuvs-cu12 and cupy-cuda12x") from None
