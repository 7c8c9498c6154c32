"""Which index, by measurement: the cheapest one that finds the target share of the nearest items within a memory limit.

No candidate is built at full size. Of an IVF three things decide, and each is measured apart:
* coverage: with the exact neighbours of real queries known, in how many of a query's best lists they lie. That is the
  recall an IVF of any `nprobe` has before its codec errs, at full size, and needs only the neighbours assigned;
* the codec's own recall: the nearest k out of the nearest 2k, decoded;
* time: finding the lists, and scanning a vector with a heap of k, each on one thread.
The winner is built, and `exporters.index.tune_search` then settles its `nprobe` on the real index.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import faiss
import numpy as np

from exporters.errors import GateError
from exporters.exact import ExactSearch, recall
from exporters.index import (
    LARGEST_FLAT_QUANTIZER,
    POINTS_PER_LIST,
    QUANTIZERS,
    TARGET_RECALL,
    Codec,
    IndexSpec,
    Kind,
    centroids_of,
    empty_index,
    most_probes,
    parameters,
    quantizer_of,
    settings_of,
)
from feature_repo.vectors import Floats, Ints

DIRECT_ITEMS = 20_000  # up to here every candidate is simply built and timed
DEPTH = 2  # exact neighbours kept, in multiples of k
MOST_PROBES = 1024
MOST_LISTS = 65_536
REPEATS = 3
SAME = 1.1  # times that differ by less are the same; then the smaller index wins
CODECS: tuple[Codec, ...] = ("fp32", "fp16", "sq8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A specification with its cheapest sufficient setting: predicted recall, milliseconds per query on one thread.

    `centroids` [nlist, d] are those the prediction was made with, where one was made.
    """

    spec: IndexSpec
    setting: int
    recall: float
    milliseconds: float
    bytes_per_item: int
    centroids: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a catalogue of `items` vectors: a random sample [s, d], queries with their exact neighbours."""

    items: int
    sample: Floats
    exact: ExactSearch
    k: int

    @property
    def queries(self) -> Floats:
        """[q, d]."""
        return self.exact.queries


def choose(
    evidence: Evidence, memory_bytes: float, kind: Kind | None = None, most_lists: int = MOST_LISTS
) -> list[Trial]:
    """Every specification that reaches the target within `memory_bytes`, best first; of one kind where it is given.

    `most_lists` of no more than an exact quantizer has leaves graphs out, HNSW as well. Raises GateError if none does.
    """
    direct = evidence.items <= DIRECT_ITEMS
    trials = (
        _direct(evidence, kind, most_lists > LARGEST_FLAT_QUANTIZER) if direct else _predicted(evidence, most_lists)
    )
    fitting = [t for t in trials if t.bytes_per_item * evidence.items <= memory_bytes]
    if not fitting:
        raise GateError(
            f"no index of {evidence.items} items reaches recall@{evidence.k} {TARGET_RECALL} within "
            f"{memory_bytes / 2**30:.2f} GiB; raise TRIDENT_INDEX_MEMORY_GIB"
        )
    return best_first(fitting)


def require_memory(needed: float, limit: float, what: str) -> None:
    """Raise GateError when an index would take more than it may."""
    if needed > limit:
        raise GateError(
            f"index {what} takes {needed / 2**30:.2f} GiB, the limit is {limit / 2**30:.2f}; raise "
            "TRIDENT_INDEX_MEMORY_GIB or let TRIDENT_INDEX be auto"
        )


def best_first(trials: list[Trial]) -> list[Trial]:
    """The smallest of those that are as fast as the fastest, then the others."""
    best = min(trial.milliseconds for trial in trials)
    return sorted(trials, key=lambda t: (t.milliseconds > SAME * best, t.bytes_per_item, t.milliseconds))


def nlists(items: int, sample: int) -> list[int]:
    """Numbers of lists worth a trial: √n, 2√n, 4√n as powers of two that the sample can train."""
    most = max(1, sample // POINTS_PER_LIST)
    wanted = (2 ** round(math.log2(factor * math.sqrt(items))) for factor in (1, 2, 4))
    return sorted({min(nlist, most) for nlist in wanted})


def _direct(evidence: Evidence, kind: Kind | None, graphs: bool) -> list[Trial]:
    """Build and time each: the sample is the whole catalogue, in its order."""
    specs = [IndexSpec(kind="flat")] + ([IndexSpec(kind="hnsw")] if graphs else [])
    specs += [IndexSpec(kind="ivf", codec=c, nlist=n) for n in nlists(evidence.items, evidence.items) for c in CODECS]
    wanted = (spec for spec in specs if kind in (None, spec.kind))
    return [trial for spec in wanted if (trial := _built(evidence, spec)) is not None]


def _built(evidence: Evidence, spec: IndexSpec) -> Trial | None:
    index = empty_index(spec, evidence.sample)
    index.add(evidence.sample)
    wanted = evidence.exact.top(evidence.k)
    for setting in settings_of(spec, evidence.items):
        chosen = parameters(spec, setting)
        found = recall(index.search(evidence.queries, wanted.shape[1], params=chosen)[1], wanted)
        if found >= TARGET_RECALL:
            seconds = _seconds(partial(index.search, evidence.queries, evidence.k, params=chosen))
            return _trial(evidence, spec, setting, found, seconds)
    return None


def _predicted(evidence: Evidence, most_lists: int) -> Iterator[Trial]:
    codecs = {codec: (codec_recall(evidence, codec), _scan_seconds(evidence, codec)) for codec in CODECS}
    for nlist in sorted({min(n, most_lists) for n in nlists(evidence.items, len(evidence.sample))}):
        coverage = Coverage(evidence, nlist)
        for codec, (kept, per_vector) in codecs.items():
            probes = coverage.probes(TARGET_RECALL / kept)
            if probes is not None:
                spec = IndexSpec(kind="ivf", codec=codec, nlist=nlist)
                seconds = coverage.coarse_seconds(probes) + coverage.scanned(probes) * per_vector
                expected = kept * coverage.recall(probes)
                trial = _trial(evidence, spec, probes, expected, seconds * len(evidence.queries))
                yield replace(trial, centroids=coverage.centroids)


class Coverage:
    """How a coarse quantizer of `nlist` centroids spreads the catalogue, as its sample shows it."""

    def __init__(self, evidence: Evidence, nlist: int) -> None:
        self._queries = evidence.queries
        self.centroids = centroids_of(evidence.sample, nlist)
        self._quantizer = quantizer_of(self.centroids)
        counted = evidence.sample[: nlist * POINTS_PER_LIST]
        self._sizes = np.bincount(self._assigned(counted), minlength=nlist) * (evidence.items / len(counted))
        self._lists = self._quantizer.search(self._queries, min(most_probes(nlist), MOST_PROBES))[1]
        wanted = evidence.exact.vectors[:, : evidence.k]
        owners = self._assigned(wanted.reshape(-1, wanted.shape[2])).reshape(wanted.shape[:2])
        self._ranks = _ranks(self._lists, owners, nlist)

    def recall(self, probes: int) -> float:
        """Share of the exact neighbours that lie in a query's `probes` best lists."""
        return float(np.mean(self._ranks < probes))

    def probes(self, target: float) -> int | None:
        """The fewest lists with that recall; None when even the most are too few."""
        if target > 1 or self.recall(self._lists.shape[1]) < target:
            return None
        return int(np.sort(self._ranks, axis=None)[math.ceil(target * self._ranks.size) - 1]) + 1

    def scanned(self, probes: int) -> float:
        """Vectors a query looks at, on average."""
        return float(self._sizes[self._lists[:, :probes]].sum(axis=1).mean())

    def coarse_seconds(self, probes: int) -> float:
        """Time to find a query's lists."""
        return _seconds(lambda: self._quantizer.search(self._queries, probes)) / len(self._queries)

    def _assigned(self, vectors: Floats) -> Ints:
        owners: Ints = self._quantizer.search(vectors, 1)[1][:, 0]
        return owners


def codec_recall(evidence: Evidence, codec: Codec) -> float:
    """Share of the k nearest that are still the k nearest of the nearest 2k after the codec has rounded them."""
    if codec == "fp32":
        return 1.0
    near = evidence.exact.vectors
    quantizer = faiss.ScalarQuantizer(near.shape[2], QUANTIZERS[codec])
    quantizer.train(evidence.sample)
    flat = np.ascontiguousarray(near.reshape(-1, near.shape[2]))
    decoded = quantizer.decode(quantizer.compute_codes(flat)).reshape(near.shape)
    scores = np.einsum("qd,qnd->qn", evidence.queries, decoded)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : evidence.k]
    return float(np.mean(order < min(evidence.k, near.shape[1])))


def _scan_seconds(evidence: Evidence, codec: Codec) -> float:
    """Seconds for one vector of a list, the heap of the k best included."""
    scanned = evidence.sample[: 16 * 1024]
    index = empty_index(IndexSpec(kind="ivf", codec=codec, nlist=16), scanned)
    index.add(scanned)
    depth = min(evidence.k, len(scanned))
    chosen = faiss.SearchParametersIVF(nprobe=16)
    seconds = _seconds(lambda: index.search(evidence.queries, depth, params=chosen))
    return seconds / (len(evidence.queries) * len(scanned))


def _ranks(lists: Ints, owners: Ints, nlist: int) -> Ints:
    """Place of each neighbour's list [q, k] in its query's ranking; `nlist` where it is not ranked."""
    places = np.full((len(lists), nlist), nlist, np.int64)
    np.put_along_axis(places, lists, np.arange(lists.shape[1])[None], 1)
    ranks: Ints = np.take_along_axis(places, owners, 1)
    return ranks


def _trial(evidence: Evidence, spec: IndexSpec, setting: int, expected: float, seconds: float) -> Trial:
    """`seconds` for all queries."""
    milliseconds = 1000 * seconds / len(evidence.queries)
    size = spec.bytes_per_item(evidence.queries.shape[1])
    return Trial(spec=spec, setting=setting, recall=expected, milliseconds=milliseconds, bytes_per_item=size)


def _seconds(work: Callable[[], object]) -> float:
    """The best of a few runs on one thread: what disturbs a timing only ever adds."""
    threads, times = faiss.omp_get_max_threads(), []
    faiss.omp_set_num_threads(1)
    try:
        for _ in range(REPEATS):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    finally:
        faiss.omp_set_num_threads(threads)
    return min(times)
