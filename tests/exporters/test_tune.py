"""The index chosen by measurement: what is predicted holds on the index that is built."""

from typing import get_args

import faiss
import numpy as np
import pytest

from exporters.errors import GateError
from exporters.exact import ExactSearch, recall
from exporters.index import TARGET_RECALL, Codec, IndexSpec, centroids_of, empty_index, parameters, tune_search
from exporters.tune import Coverage, Evidence, Trial, best_first, choose, codec_recall, nlists
from feature_repo.vectors import Floats

N, D, K = 24_000, 32, 100


def clustered(n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(60, D))
    vectors = centres[rng.integers(60, size=n)] + 0.7 * rng.normal(size=(n, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def evidence_of(vectors: Floats) -> Evidence:
    exact = ExactSearch(clustered(40, 5), 2 * K)
    exact.add(vectors, 0)
    return Evidence(items=len(vectors), sample=vectors, exact=exact, k=K)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(clustered(N, 1))


def search(index: faiss.Index, spec: IndexSpec, setting: int, queries: Floats) -> np.ndarray:
    return np.asarray(index.search(queries, K, params=parameters(spec, setting))[1])


def test_coverage_is_the_recall_of_an_uncompressed_ivf(evidence: Evidence) -> None:
    coverage, spec = Coverage(evidence, 128), IndexSpec(kind="ivf", nlist=128)
    index = empty_index(spec, evidence.sample, coverage.centroids)
    index.add(evidence.sample)
    for probes in (1, 4, 16, 128):
        found = search(index, spec, probes, evidence.queries)
        assert recall(found, evidence.exact.top(K)) == pytest.approx(coverage.recall(probes), abs=1e-3)
    assert coverage.scanned(128) == N
    wanted = coverage.probes(0.9)
    assert wanted is not None
    assert coverage.recall(wanted - 1) < 0.9 <= coverage.recall(wanted)
    assert coverage.probes(1.01) is None


@pytest.mark.parametrize("codec", get_args(Codec))
def test_the_recall_of_a_codec_is_that_of_its_full_scan(evidence: Evidence, codec: Codec) -> None:
    spec = IndexSpec(kind="ivf", codec=codec, nlist=1)
    index = empty_index(spec, evidence.sample)
    index.add(evidence.sample)
    found = recall(search(index, spec, 1, evidence.queries), evidence.exact.top(K))
    assert codec_recall(evidence, codec) == pytest.approx(found, abs=0.02)


@pytest.mark.parametrize("n", [400, N])
def test_the_winner_reaches_the_target_when_built(n: int) -> None:
    evidence = evidence_of(clustered(n, 1))
    best = choose(evidence, 2**40)[0]
    index = empty_index(best.spec, evidence.sample, best.centroids)
    index.add(evidence.sample)
    facts = tune_search(index, best.spec, evidence.exact, K, best.setting)
    assert facts.recall >= TARGET_RECALL
    assert best.recall >= TARGET_RECALL
    assert facts.nprobe <= 1.5 * best.setting


def test_an_index_within_the_memory_limit_or_none(evidence: Evidence) -> None:
    fp16 = N * IndexSpec(kind="ivf", codec="fp16", nlist=1).bytes_per_item(D)
    assert {trial.spec.codec for trial in choose(evidence, fp16)} == {"fp16", "sq8"}
    with pytest.raises(GateError, match=r"within 0\.00 GiB; raise TRIDENT_INDEX_MEMORY_GIB"):
        choose(evidence, 1000)


def test_the_smallest_of_the_fastest_comes_first() -> None:
    def trial(milliseconds: float, size: int) -> Trial:
        spec = IndexSpec(kind="flat")
        return Trial(spec=spec, setting=0, recall=1.0, milliseconds=milliseconds, bytes_per_item=size)

    slow, same, fast = trial(2.0, 10), trial(1.05, 20), trial(1.0, 30)
    assert best_first([slow, fast, same]) == [same, fast, slow]
    assert best_first([trial(1.2, 20), fast])[0] == fast


@pytest.mark.parametrize("nlist", [16, 600])
def test_as_many_centroids_as_asked_for(nlist: int) -> None:
    sample = clustered(nlist * 40, 3)
    centroids = centroids_of(sample, nlist)
    assert centroids.shape == (nlist, D)
    assert np.isfinite(centroids).all()
    own = -np.sort(-(sample @ centroids.T), axis=1)[:, 0].mean()
    drawn = -np.sort(-(sample @ sample[:nlist].T), axis=1)[nlist:, 0].mean()
    assert own > drawn  # better than so many of the vectors themselves


def test_lists_are_no_more_than_the_sample_can_train() -> None:
    assert nlists(10_000_000, 640_000) == [4096, 8192, 16384]
    assert nlists(2000, 2000) == [32, 51]
    assert nlists(10, 10) == [1]


@pytest.mark.parametrize("spec", [{"kind": "ivf"}, {"kind": "flat", "nlist": 4}, {"kind": "hnsw", "codec": "sq8"}])
def test_a_specification_that_makes_no_sense_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ivf needs an nlist"):
        IndexSpec(**spec)  # type: ignore[arg-type]
