"""Retrieval: the served index over the whole catalogue, and the kinds of index at the same recall over a part of it.

One query at a time, one thread, k as served. The part's vectors are what the served index holds of them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np

from deploy.settings import Settings
from exporters.errors import GateError
from exporters.exact import ExactSearch
from exporters.index import POINTS_PER_LIST, Codec, IndexSpec, empty_index, parameters, tune_search
from feature_repo.rows import unpack_user_row
from feature_repo.vectors import Floats
from model_repository.contract import CANDIDATE_SEARCH
from perf.compare.turns import Samples, Spread, take_turns
from perf.peers.models import Release, embed
from perf.peers.subset import Subset
from perf.users import packed_rows

ROUNDS, QUERIES, PART = 7, 64, 50_000
SERVED = "served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searcher:
    """An index with its search setting, and the recall@k it reaches."""

    index: faiss.Index
    parameters: faiss.SearchParameters | None
    recall: float

    def qps(self, queries: Floats, k: int) -> float:
        """Queries [q, d] per second, one after the other."""
        started = time.perf_counter()
        for query in queries:
            self.index.search(query[None], k, params=self.parameters)
        return len(queries) / (time.perf_counter() - started)


def measure(settings: Settings, part: int = PART, rounds: int = ROUNDS) -> dict[str, object]:
    """Queries per second with their recall, of the served index and of the kinds over `part` items."""
    release = Release.newest(settings)
    k, queries = release.candidates, user_queries(settings, release)
    kinds = build_kinds(Subset.of(release.folder, part).vectors, queries, k, release.manifest.index.codec)
    searchers = {SERVED: served(release)} | kinds
    faiss.omp_set_num_threads(1)
    qps: dict[str, Callable[[], float]] = {
        name: partial(one.qps, queries, min(k, one.index.ntotal)) for name, one in searchers.items()
    }
    samples = take_turns(qps, rounds)
    figures = {name: _figures(one, samples, name) for name, one in searchers.items()}
    return {**figures.pop(SERVED), "k": k, "index": release.manifest.index.kind, "peers": figures, "samples": samples}


def served(release: Release) -> Searcher:
    """The release's index as Triton searches it; its recall was measured when it was built."""
    facts = release.manifest.index
    index = faiss.read_index(str(release.folder / CANDIDATE_SEARCH.name / CANDIDATE_SEARCH.artifact))
    spec = IndexSpec(kind=facts.kind, codec=facts.codec, nlist=facts.nlist)
    return Searcher(index=index, parameters=parameters(spec, facts.nprobe or facts.ef_search), recall=facts.recall)


def build_kinds(vectors: Floats, queries: Floats, k: int, codec: Codec) -> dict[str, Searcher]:
    """Flat, IVF and HNSW over vectors [n, d], each searched as cheaply as the exporter's target recall allows."""
    lists = max(1, min(round(4 * math.sqrt(len(vectors))), len(vectors) // POINTS_PER_LIST))
    specs = {
        "flat": IndexSpec(kind="flat"), "ivf": IndexSpec(kind="ivf", codec=codec, nlist=lists),
        "hnsw": IndexSpec(kind="hnsw"),
    }  # fmt: skip
    exact = ExactSearch(queries, k)
    exact.add(vectors, 0)
    built = {name: _build(spec, vectors, exact, k) for name, spec in specs.items()}
    return {name: searcher for name, searcher in built.items() if searcher is not None}


def user_queries(settings: Settings, release: Release, count: int = QUERIES) -> Floats:
    """Embeddings of real users, [count, d]."""
    rows = packed_rows(settings)
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return embed(release, [unpack_user_row(rows[i]).values for i in chosen])


def _build(spec: IndexSpec, vectors: Floats, exact: ExactSearch, k: int) -> Searcher | None:
    """None for a kind that does not reach the recall."""
    index = empty_index(spec, vectors)
    index.add(vectors)
    try:
        facts = tune_search(index, spec, exact, k)
    except GateError:
        return None
    return Searcher(index=index, parameters=parameters(spec, facts.nprobe or facts.ef_search), recall=facts.recall)


def _figures(searcher: Searcher, samples: Samples, name: str) -> dict[str, object]:
    spread = Spread.of(samples[name])
    return {
        "items": searcher.index.ntotal, "recall_at_500": round(searcher.recall, 4), "qps": round(spread.median, 1),
        "qps_spread": spread.rounded(1),
    }  # fmt: skip
