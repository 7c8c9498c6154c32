"""The peers' part of a catalogue, and the ways to its features: all of them give what the served table gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from deploy.settings import Settings
from exporters.generation import Choices, write_generation
from feature_repo.schema import country_code
from perf.compare.item_features import refuse_differences, requests
from perf.compare.retrieval import build_kinds
from perf.errors import PerfError
from perf.peers.item_stores import FEAST, HASHES, PACKED, RESIDENT, empty, fill, readers
from perf.peers.subset import Subset
from tests.exporters.test_catalogue import Chunked, N, features, unit_vectors, users
from tests.ports import isolated_settings
from tests.redis_server import redis_server

K = 50


@pytest.fixture(scope="module", params=["flat", "ivf", "hnsw"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    (folder / "candidates").mkdir()
    choices = Choices(kind=request.param, memory_bytes=2**30, candidates=K)
    write_generation(folder / "candidates", Chunked(), users(), choices, "digest", lambda _: None)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with redis_server() as port:
        yield isolated_settings(tmp_path_factory.mktemp("home"), redis_port=port)


def test_a_part_is_spread_over_the_catalogue_and_the_whole_is_everything(release: Path) -> None:
    part = Subset.of(release, 47)
    assert len(part.rows) == 47
    assert (part.rows[0], part.rows[-1]) == (0, N - 1)
    assert np.diff(part.rows).max() <= 7
    assert Subset.of(release, 10 * N).ids == [f"item-{i}" for i in range(N)]


def test_a_part_knows_its_items(release: Path) -> None:
    part = Subset.of(release, 47)
    assert part.ids == [f"item-{row}" for row in part.rows]
    assert np.array_equal(part.features, features(N)[part.rows])
    assert part.vectors == pytest.approx(unit_vectors(N, 1)[part.rows], abs=1e-2)  # a codec may have rounded
    german, french = (part.in_region(country_code(country)) for country in ("DE", "FR"))
    assert np.array_equal(german, np.ones(47))  # rows of 1 mod 5 are for DE alone, of 2 mod 5 for DE and FR
    assert np.array_equal(french, part.rows % 5 != 1)
    assert np.array_equal(part.in_region(0), ~np.isin(part.rows % 5, (1, 2)))


def test_every_store_answers_what_the_table_holds(release: Path, settings: Settings) -> None:
    items = Subset.of(release)
    with redis.Redis(port=settings.redis_port) as client:
        fill(settings, items, client)
        ways, places = readers(settings, items, client), requests(N, K)[0]
        assert list(ways) == [FEAST, HASHES, PACKED, RESIDENT]
        refuse_differences(ways, places)
        assert np.array_equal(ways[FEAST](places), features(N)[places])
        client.set(f"peers:packed:item-{places[0]}", np.zeros(items.features.shape[1], np.float32).tobytes())
        with pytest.raises(PerfError, match="redis_mget_packed answers other features"):
            refuse_differences(ways, places)
        empty(items, client)
        assert not list(client.scan_iter("peers:*"))


def test_the_kinds_of_index_reach_the_recall_they_are_compared_at() -> None:
    vectors, queries = unit_vectors(2000, 1), unit_vectors(20, 2)
    kinds = build_kinds(vectors, queries, K, "fp32")
    assert list(kinds) == ["flat", "ivf", "hnsw"]
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    for name, one in kinds.items():
        found = one.index.search(queries, K, params=one.parameters)[1]
        share = np.mean([len(np.intersect1d(f, e)) / K for f, e in zip(found, exact, strict=True)])
        assert share == pytest.approx(one.recall, abs=1e-6), name
        assert share >= (1.0 if name == "flat" else 0.95)
        assert one.qps(queries, K) > 0
