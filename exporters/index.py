"""Item vectors to a FAISS index (inner product): flat, IVF or HNSW, with search settings chosen by measured recall."""

import math
from typing import Literal

import faiss
import numpy as np

from exporters.errors import GateError
from exporters.manifest import IndexFacts
from feature_repo.vectors import Floats
from model_repository.contract import CANDIDATES

Kind = Literal["flat", "ivf", "hnsw"]
TARGET_RECALL = 0.95
POINTS_PER_LIST = 39  # fewer and FAISS' k-means warns (Clustering.h, min_points_per_centroid)
LARGEST_NLIST = 4096
HNSW_LINKS = 32


def build_index(kind: Kind, vectors: Floats, queries: Floats) -> tuple[faiss.Index, IndexFacts]:
    """Index `vectors` [n, d] in order; the cheapest setting that reaches `TARGET_RECALL` on `queries` [q, d].

    Raises GateError when no setting does.
    """
    index = _BUILDERS[kind](vectors)
    index.add(vectors)
    k = min(CANDIDATES, len(vectors))
    exact = _exact(vectors, queries, k)
    facts = IndexFacts(kind=kind, items=len(vectors), dimension=vectors.shape[1], recall_at_500=0.0)
    for setting in _settings(kind, index):
        recall = _recall(_search(kind, index, queries, k, setting), exact)
        facts = facts.model_copy(update={"recall_at_500": recall, **_fields(kind, index, setting)})
        if recall >= TARGET_RECALL:
            return index, facts
    raise GateError(f"index {kind}: recall@{k} is {facts.recall_at_500:.3f} at its most thorough, need {TARGET_RECALL}")


def _flat(vectors: Floats) -> faiss.Index:
    return faiss.IndexFlatIP(vectors.shape[1])


def _ivf(vectors: Floats) -> faiss.Index:
    nlist = max(1, min(LARGEST_NLIST, int(4 * math.sqrt(len(vectors))), len(vectors) // POINTS_PER_LIST))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], nlist, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1234
    index.train(vectors)
    return index


def _hnsw(vectors: Floats) -> faiss.Index:
    index = faiss.IndexHNSWFlat(vectors.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    return index


_BUILDERS = {"flat": _flat, "ivf": _ivf, "hnsw": _hnsw}


def _settings(kind: Kind, index: faiss.Index) -> list[int]:
    """Search settings from cheap to thorough: nprobe of IVF, efSearch of HNSW."""
    if kind == "ivf":
        return [*(2**i for i in range(math.ceil(math.log2(index.nlist + 1))) if 2**i < index.nlist), index.nlist]
    return [512, 1024, 2048, 4096, 8192] if kind == "hnsw" else [0]


def _search(kind: Kind, index: faiss.Index, queries: Floats, k: int, setting: int) -> np.ndarray:
    parameters = None
    if kind == "ivf":
        parameters = faiss.SearchParametersIVF(nprobe=setting)
    elif kind == "hnsw":
        parameters = faiss.SearchParametersHNSW(efSearch=setting)
    return np.asarray(index.search(queries, k, params=parameters)[1])


def _fields(kind: Kind, index: faiss.Index, setting: int) -> dict[str, int]:
    if kind == "ivf":
        return {"nlist": index.nlist, "nprobe": setting}
    return {"ef_search": setting} if kind == "hnsw" else {}


def _exact(vectors: Floats, queries: Floats, k: int) -> np.ndarray:
    return np.asarray(faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[1])


def _recall(found: np.ndarray, exact: np.ndarray) -> float:
    hits = [len(np.intersect1d(f, e)) for f, e in zip(found, exact, strict=True)]
    return float(np.sum(hits) / exact.size)
