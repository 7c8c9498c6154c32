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
MOST_POINTS_PER_LIST = 64  # more teach k-means little and take their time
ONE_LEVEL = 512  # centroids that plain k-means is quick for
LARGEST_FLAT_QUANTIZER = 4096  # more centroids are found through a graph
GRAPH_PROBES = 256  # lists a graph finds; asked for more it answers -1
CODEC_SAMPLE = 65_536
HNSW_LINKS = 32
BYTES = {"fp32": 4, "fp16": 2, "sq8": 1}
QUANTIZERS = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}


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


def empty_index(spec: IndexSpec, sample: Floats, centroids: Floats | None = None) -> faiss.Index:
    """An index of the specification, trained on `sample` [n, d] and holding nothing; `centroids` may be known."""
    dimension = sample.shape[1]
    if spec.kind == "flat":
        return faiss.IndexFlatIP(dimension)
    if spec.kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 200
        return graph
    known = centroids_of(sample, spec.nlist) if centroids is None else centroids
    index = _ivf(spec, quantizer_of(known))
    index.train(sample[:CODEC_SAMPLE])  # the quantizer is full already: only the codec learns
    return index


def quantizer_of(centroids: Floats) -> faiss.Index:
    """A coarse quantizer over centroids [nlist, d]: exact up to 4096, a graph over them beyond."""
    if len(centroids) <= LARGEST_FLAT_QUANTIZER:
        quantizer = faiss.IndexFlatIP(centroids.shape[1])
    else:
        quantizer = faiss.IndexHNSWFlat(centroids.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        quantizer.hnsw.efSearch = GRAPH_PROBES
    quantizer.add(centroids)
    return quantizer


def centroids_of(sample: Floats, nlist: int) -> Floats:
    """k-means centroids [nlist, d] of the sample [n, d], seeded.

    Beyond a few hundred in two levels, for k-means of n × nlist is what building an index otherwise consists of: a
    coarse clustering, one within each cell, and up to 4096 a few full iterations from there.
    """
    points = sample[: nlist * MOST_POINTS_PER_LIST]
    if nlist <= ONE_LEVEL:
        return _kmeans(points, nlist)
    centroids = _two_level(points, nlist)
    return _kmeans(points, nlist, niter=3, start=centroids) if nlist <= LARGEST_FLAT_QUANTIZER else centroids


def settings_of(spec: IndexSpec, items: int) -> list[int]:
    """Search settings from cheap to thorough: nprobe of IVF, efSearch of HNSW."""
    if spec.kind == "ivf":
        most = most_probes(spec.nlist)
        steps = [round(2 ** (i / 4)) for i in range(4 * math.ceil(math.log2(most + 1)))]
        return [*dict.fromkeys(s for s in steps if s < most), most]
    return [e for e in (512, 1024, 2048, 4096) if e < items] + [8192] if spec.kind == "hnsw" else [0]


def most_probes(nlist: int) -> int:
    """The most lists a query can be answered from."""
    return nlist if nlist <= LARGEST_FLAT_QUANTIZER else GRAPH_PROBES


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
        index = faiss.IndexIVFScalarQuantizer(*shape, QUANTIZERS[spec.codec], faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()
    return index


def _kmeans(points: Floats, count: int, niter: int = 10, start: Floats | None = None) -> Floats:
    """Spherical, because lists are ranked by inner product."""
    if count >= len(points):
        return points[:count]
    clustering = faiss.Kmeans(
        points.shape[1], count, niter=niter, seed=1234, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )  # fmt: skip
    clustering.train(points, init_centroids=start)
    return np.asarray(clustering.centroids, np.float32)


def _two_level(points: Floats, count: int) -> Floats:
    """k-means within each cell of a coarse k-means, cells getting centroids by their share of the points."""
    coarse = faiss.IndexFlatIP(points.shape[1])
    coarse.add(_kmeans(points, math.isqrt(count)))
    cells = coarse.search(points, 1)[1][:, 0]
    shares = _apportion(np.bincount(cells, minlength=coarse.ntotal), count)
    parts = [_kmeans(points[cells == c], int(n)) for c, n in enumerate(shares) if n]
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
