"""FAISS indexes by inner product, filled chunk by chunk: flat, IVF over a codec, or HNSW; and how each is searched.

`exporters.tune` chooses a specification by measurement; the kinds and their settings are FAISS's own (IndexIVF.h,
IndexScalarQuantizer.h, IndexHNSW.h).
"""

import math
from dataclasses import dataclass
from typing import Literal

import faiss
import numpy as np

from exporters.errors import GateError
from exporters.exact import ExactSearch, recall
from exporters.manifest import IndexFacts
from feature_repo.vectors import Floats, Ints

Kind = Literal["flat", "ivf", "hnsw"]
Codec = Literal["fp32", "fp16", "sq8"]
TARGET_RECALL = 0.95
POINTS_PER_LIST = 39  # fewer and FAISS' k-means warns (Clustering.h, min_points_per_centroid)
LARGEST_FLAT_QUANTIZER = 4096  # more centroids are found through a graph, and clustered in two levels
HNSW_LINKS = 32
BYTES = {"fp32": 4, "fp16": 2, "sq8": 1}
_QUANTIZERS = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """What to build."""

    kind: Kind
    codec: Codec = "fp32"
    nlist: int = 0

    def __post_init__(self) -> None:
        if (self.kind == "ivf") != (self.nlist > 0) or (self.kind != "ivf" and self.codec != "fp32"):
            raise ValueError(f"{self}: nlist and a codec other than fp32 belong to ivf, and ivf needs an nlist")

    def bytes_per_item(self, dimension: int) -> int:
        """Code, row number, and the links of a graph."""
        return dimension * BYTES[self.codec] + 8 + (8 * HNSW_LINKS if self.kind == "hnsw" else 0)


def empty_index(spec: IndexSpec, sample: Floats) -> faiss.Index:
    """An index of the specification, trained on `sample` [n, d] and holding nothing."""
    dimension = sample.shape[1]
    if spec.kind == "flat":
        return faiss.IndexFlatIP(dimension)
    if spec.kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 200
        return graph
    index = _ivf(spec, quantizer_of(sample, spec.nlist))
    index.train(sample)
    return index


def quantizer_of(sample: Floats, nlist: int) -> faiss.Index:
    """A coarse quantizer with `nlist` centroids of the sample: exact up to 4096, a graph over them beyond."""
    if nlist <= LARGEST_FLAT_QUANTIZER:
        quantizer = faiss.IndexFlatIP(sample.shape[1])
        quantizer.add(_centroids(sample, nlist))
        return quantizer
    quantizer = faiss.IndexHNSWFlat(sample.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    quantizer.hnsw.efSearch = 128
    quantizer.add(_two_level_centroids(sample, nlist))
    return quantizer


def settings_of(spec: IndexSpec, items: int) -> list[int]:
    """Search settings from cheap to thorough: nprobe of IVF, efSearch of HNSW."""
    if spec.kind == "ivf":
        steps = [round(2 ** (i / 4)) for i in range(4 * math.ceil(math.log2(spec.nlist)))]
        return [*dict.fromkeys(s for s in steps if s < spec.nlist), spec.nlist]
    return [e for e in (512, 1024, 2048, 4096) if e < items] + [8192] if spec.kind == "hnsw" else [0]


def parameters(spec: IndexSpec, setting: int) -> faiss.SearchParameters | None:
    """FAISS's search parameters of a setting."""
    if spec.kind == "ivf":
        return faiss.SearchParametersIVF(nprobe=setting)
    return faiss.SearchParametersHNSW(efSearch=setting) if spec.kind == "hnsw" else None


def tune_search(index: faiss.Index, spec: IndexSpec, exact: ExactSearch, k: int, start: int = 0) -> IndexFacts:
    """Facts with the cheapest setting, from `start` on, that finds `TARGET_RECALL` of the k nearest.

    Raises GateError when no setting does.
    """
    wanted, found = exact.top(k), 0.0
    for setting in settings_of(spec, index.ntotal):
        if setting < start:
            continue
        found = recall(_search(index, exact.queries, wanted.shape[1], spec, setting), wanted)
        if found >= TARGET_RECALL:
            return IndexFacts(
                kind=spec.kind, codec=spec.codec, items=index.ntotal, dimension=index.d, candidates=k, recall=found,
                nlist=spec.nlist, bytes_per_item=spec.bytes_per_item(index.d),
                nprobe=setting if spec.kind == "ivf" else 0, ef_search=setting if spec.kind == "hnsw" else 0,
            )  # fmt: skip
    raise GateError(f"index {spec}: recall@{k} is {found:.3f} at its most thorough, need {TARGET_RECALL}")


def _search(index: faiss.Index, queries: Floats, k: int, spec: IndexSpec, setting: int) -> Ints:
    found: Ints = np.asarray(index.search(queries, k, params=parameters(spec, setting))[1])
    return found


def _ivf(spec: IndexSpec, quantizer: faiss.Index) -> faiss.IndexIVF:
    shape = (quantizer, quantizer.d, spec.nlist)
    if spec.codec == "fp32":
        index = faiss.IndexIVFFlat(*shape, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexIVFScalarQuantizer(*shape, _QUANTIZERS[spec.codec], faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()
    return index


def _centroids(sample: Floats, count: int) -> Floats:
    """Spherical k-means centroids [count, d] of the sample, seeded: lists are ranked by inner product."""
    if count >= len(sample):
        return sample[:count]
    clustering = faiss.Kmeans(sample.shape[1], count, niter=10, seed=1234, spherical=True, max_points_per_centroid=256)
    clustering.train(sample)
    centroids: Floats = clustering.centroids
    return centroids


def _two_level_centroids(sample: Floats, count: int) -> Floats:
    """k-means within each cell of a coarse k-means, cells getting centroids by their share of the sample."""
    coarse = faiss.IndexFlatIP(sample.shape[1])
    coarse.add(_centroids(sample, math.isqrt(count)))
    cells = coarse.search(sample, 1)[1][:, 0]
    sizes = np.bincount(cells, minlength=coarse.ntotal)
    shares = _apportion(sizes, count)
    parts = [_centroids(sample[cells == c], int(n)) for c, n in enumerate(shares) if n]
    return np.concatenate(parts)


def _apportion(sizes: Ints, seats: int) -> Ints:
    """Seats by size, largest remainders first (Hamilton's method), none to more than its size."""
    exact = sizes * seats / sizes.sum()
    given = np.minimum(np.floor(exact), sizes).astype(np.int64)
    order = np.argsort(given - exact, kind="stable")
    for cell in np.resize(order, seats * 2):
        if given.sum() == seats:
            break
        given[cell] += given[cell] < sizes[cell]
    return np.asarray(given, np.int64)
