"""What goes onto a GPU from the `faiss` backend: the index's form, and the catalogue around a limited search."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import faiss
import numpy as np
import pytest

from deploy.triton.backends.faiss.records import record_type
from tests.backends import backend_module

N, D, NLIST = 4000, 16, 32


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return backend_module("gpu_index")


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    return backend_module("catalogue")


def vectors(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def ivf(graph: bool = False, codec: int | None = None) -> faiss.IndexIVF:
    """Trained and filled; the coarse quantizer is a graph or flat."""
    rows = vectors(N, 1)
    clusters = faiss.Kmeans(D, NLIST, seed=1, min_points_per_centroid=1)
    clusters.train(rows)
    quantizer = faiss.IndexHNSWFlat(D, 8, faiss.METRIC_INNER_PRODUCT) if graph else faiss.IndexFlatIP(D)
    quantizer.add(clusters.centroids)
    shape = (quantizer, D, NLIST)
    index = (
        faiss.IndexIVFFlat(*shape, faiss.METRIC_INNER_PRODUCT)
        if codec is None
        else faiss.IndexIVFScalarQuantizer(*shape, codec, faiss.METRIC_INNER_PRODUCT)
    )
    quantizer.this.disown()
    index.own_fields = True
    index.train(rows)
    index.add(rows)
    index.nprobe = NLIST
    return index


@pytest.mark.parametrize("graph", [False, True])
def test_lists_in_half_precision_hold_the_same_vectors(gpu: ModuleType, graph: bool) -> None:
    before = ivf(graph).search(vectors(20, 2), 50)
    half = gpu.prepare(ivf(graph), "float16")
    after = half.search(vectors(20, 2), 50)
    assert type(half) is faiss.IndexIVFScalarQuantizer
    assert half.code_size == 2 * D
    assert (half.ntotal, half.nprobe) == (N, NLIST)
    assert np.abs(before[0] - after[0]).max() < 0.02  # 11 bits of a mantissa
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(before[1], after[1], strict=True)]) > 49


def test_a_graph_of_centroids_becomes_the_centroids(gpu: ModuleType) -> None:
    index = ivf(graph=True)
    expected = index.search(vectors(5, 3), 10)[1]
    prepared = gpu.prepare(index, "float32")
    del index
    quantizer = faiss.downcast_index(prepared.quantizer)
    assert type(quantizer) is faiss.IndexFlat
    assert quantizer.ntotal == NLIST
    assert (prepared.search(vectors(5, 3), 10)[1] == expected).all()


def test_codes_stay_codes(gpu: ModuleType) -> None:
    index = ivf(codec=faiss.ScalarQuantizer.QT_8bit)
    assert gpu.prepare(index, "float16") is index


def many_probes() -> faiss.IndexIVF:
    index = ivf()
    index.nprobe = 2049
    return index


@pytest.mark.parametrize(("index", "storage", "message"), [
    (faiss.IndexHNSWFlat(D, 8), "float16", "HNSW index has no GPU form"),
    (faiss.IndexFlatIP(D), "int8", "gpu_storage is 'int8'"),
    (many_probes(), "float16", "wants 2049 probes, a GPU gives 2048"),
])  # fmt: skip
def test_what_has_no_gpu_form_is_refused(gpu: ModuleType, index: faiss.Index, storage: str, message: str) -> None:
    with pytest.raises(gpu.GpuIndexError, match=message):
        gpu.prepare(index, storage)


def test_without_a_gpu_the_error_says_so(gpu: ModuleType) -> None:
    if getattr(faiss, "get_num_gpus", int)():
        pytest.skip("there is a GPU")
    with pytest.raises(gpu.GpuIndexError, match=r"install faiss-gpu-cu12|FAISS sees 0"):
        gpu.to_gpu(faiss.IndexFlatIP(D), 0, "float16", 64)


class Limited:
    """Searches like GPU FAISS: never more than 2048 deep."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self.ntotal, self.d, self.metric_type = index.ntotal, index.d, index.metric_type
        self.asked: list[int] = []

    def search(self, queries: np.ndarray, k: int) -> Any:
        assert k <= 2048
        self.asked.append(k)
        return self._index.search(queries, k)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Items in stock are every twentieth: a GPU's 2048 deepest hold about a hundred of them."""
    faiss.write_index(ivf(), str(tmp_path / "index.faiss"))
    records = np.zeros(N, record_type(4, 2, {"f4": [0]}))
    records["key"] = np.arange(N)
    records["rules"] = np.stack([np.arange(N) % 20 == 0, np.ones(N)], 1)
    np.save(tmp_path / "records.npy", records)
    np.save(tmp_path / "keys.npy", records["key"])
    np.save(tmp_path / "rules.npy", records["rules"])
    np.save(tmp_path / "regions.npy", np.ones((N, 1), np.uint64))
    facts = {"items": N, "dimension": D, "nprobe": NLIST, "ef_search": 0, "id_bytes": 4, "feature_columns": {"f4": [0]},
             "rule_columns": ["in_stock", "is_safe"], "regions": {}}  # fmt: skip
    (tmp_path / "table.json").write_text(json.dumps(facts))
    return tmp_path


@pytest.mark.parametrize("k", [20, 150])
def test_what_a_gpu_cannot_reach_is_found_on_the_host(kernel: ModuleType, folder: Path, k: int) -> None:
    places: list[Limited] = []

    def place(index: faiss.Index) -> Limited:
        places.append(Limited(index))
        return places[-1]

    queries, nowhere = vectors(3, 4), np.zeros(3, np.int32)
    on_gpu = kernel.Catalogue(folder, k, place).search(queries, nowhere)
    on_cpu = kernel.Catalogue(folder, k).search(queries, nowhere)
    assert (on_gpu["count"] == k).all()
    assert (on_gpu["item_key"] == on_cpu["item_key"]).all()
    assert places[0].asked[0] == min(2048, int(k * 20 * 1.1) + 16)


def test_more_candidates_than_a_gpu_finds_are_refused(kernel: ModuleType, folder: Path) -> None:
    with pytest.raises(kernel.CatalogueError, match="at most 2048 candidates, the model's width is 2049"):
        kernel.Catalogue(folder, 2049, Limited)
