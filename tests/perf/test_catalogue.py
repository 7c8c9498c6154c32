"""Synthetic catalogues: as hard as what they were fitted on, the same every time, readable as any other."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporters.table import ItemTable
from feature_repo.schema import ITEM_WIDTH
from feature_repo.vectors import Floats
from model_repository.contract import EMBEDDING_WIDTH
from perf.catalogue.forest import Trees
from perf.catalogue.source import SyntheticCatalogue, Trained, read_vectors
from perf.catalogue.vectors import fit, local_dimension
from perf.errors import PerfError

N = 600


def low_dimensional(n: int, seed: int, intrinsic: int = 6, d: int = EMBEDDING_WIDTH) -> Floats:
    """Unit vectors around 12 centres, varying in a few directions only."""
    rng, space = np.random.default_rng(seed), np.random.default_rng(7)
    centres, axes = space.normal(size=(12, d)), space.normal(size=(intrinsic, d))
    vectors = centres[rng.integers(12, size=n)] + 0.5 * rng.normal(size=(n, intrinsic)) @ axes
    vectors += 0.02 * rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> Trained:
    vectors = low_dimensional(N, 1)
    rules = np.arange(N * 5, dtype=np.float32).reshape(N, 5)
    table = ItemTable(
        ids=[f"i{n}" for n in range(N)], features=np.full((N, ITEM_WIDTH), np.arange(N)[:, None], np.float32),
        rules=rules, regions=[("DE",) if n % 7 == 0 else None for n in range(N)], display=[{"n": n} for n in range(N)],
    )  # fmt: skip
    shown = pa.table({"title": [f"title {n}" for n in range(N)], "price": np.arange(N, dtype=float)})
    return Trained(table=table, vectors=vectors, shown=shown)


def test_neighbourhoods_are_as_hard_as_the_trained_ones() -> None:
    vectors, queries = low_dimensional(N, 1), low_dimensional(50, 2)
    drawn, _ = fit(vectors).sample(N, np.random.default_rng(0))
    noise = np.random.default_rng(0).normal(size=(N, EMBEDDING_WIDTH)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    real, ours, easy = (local_dimension(queries @ v.T, 50) for v in (vectors, drawn, noise))
    assert ours == pytest.approx(real, rel=0.25)
    assert easy > 2 * real  # what unclustered noise would have been
    nearest = [-np.sort(-(queries @ v.T), axis=1)[:, :50].mean() for v in (vectors, drawn)]
    assert nearest[1] == pytest.approx(nearest[0], abs=0.03)


def test_the_dimension_of_a_known_space_is_estimated() -> None:
    rng = np.random.default_rng(0)
    for dimension in (2, 5):
        flat = np.zeros((20_000, 8))
        flat[:, :dimension] = rng.normal(size=(20_000, dimension)) * 0.1
        flat[:, 7] = 1.0
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        queries = np.zeros((60, 8))
        queries[:, :dimension] = rng.normal(size=(60, dimension)) * 0.05
        queries[:, 7] = 1.0
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        assert local_dimension(queries @ flat.T, 200) == pytest.approx(dimension, rel=0.1)


def test_vectors_have_the_lengths_of_the_trained_ones() -> None:
    vectors = low_dimensional(N, 1) * np.linspace(0.5, 2.0, N, dtype=np.float32)[:, None]
    drawn, like = fit(vectors).sample(1000, np.random.default_rng(0))
    expected = np.linalg.norm(vectors[like], axis=1)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(expected, rel=1e-4)


def test_chunks_are_the_same_every_time_and_complete(trained: Trained) -> None:
    catalogue = SyntheticCatalogue(trained, 1000, seed=3, chunk=400)
    first, second = list(catalogue.chunks()), list(catalogue.chunks())
    assert [len(table) for table, _ in first] == [400, 400, 200]
    for (table, vectors), (again, same) in zip(first, second, strict=True):
        assert (vectors == same).all()
        assert table.ids == again.ids
    ids = [item for table, _ in first for item in table.ids]
    assert (ids[0], ids[-1], len(set(ids))) == ("s000000", "s000999", 1000)
    other = next(iter(SyntheticCatalogue(trained, 1000, seed=4, chunk=400).chunks()))[1]
    assert not np.allclose(first[0][1], other)


def test_everything_of_an_item_comes_from_one_trained_row(trained: Trained) -> None:
    table, _ = next(iter(SyntheticCatalogue(trained, 300).chunks()))
    like = table.features[:, 0].astype(int)
    assert (table.rules == trained.table.rules[like]).all()
    assert table.regions == [trained.table.regions[n] for n in like]
    assert table.display == [{"n": n} for n in like]


def test_what_is_shown_is_written_row_for_row(trained: Trained, tmp_path: Path) -> None:
    catalogue = SyntheticCatalogue(trained, 300, chunk=128)
    catalogue.write_shown(tmp_path / "items")
    shown = pq.read_table(tmp_path / "items")
    tables = [table for table, _ in catalogue.chunks()]
    assert shown["item_id"].to_pylist() == [item for table in tables for item in table.ids]
    like = [int(row) for table in tables for row in table.features[:, 0]]
    assert shown["title"].to_pylist() == [f"title {n}" for n in like]


def test_given_vectors_are_taken_as_they_are(trained: Trained, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", low_dimensional(500, 9))
    given = read_vectors(tmp_path / "v.npy")
    assert given is not None
    vectors = np.concatenate([chunk for _, chunk in SyntheticCatalogue(trained, 450, given=given).chunks()])
    assert (vectors == given[:450]).all()
    with pytest.raises(PerfError, match="the file has 500 vectors, --items is 501"):
        SyntheticCatalogue(trained, 501, given=given)


@pytest.mark.parametrize("content", [np.zeros((5, 3), np.float32), np.zeros((5, EMBEDDING_WIDTH), np.int64), None])
def test_a_file_that_holds_no_vectors_is_refused(content: np.ndarray | None, tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    path.write_text("text") if content is None else np.save(path, content)
    with pytest.raises(PerfError, match=r"v\.npy"):
        read_vectors(path)
    assert read_vectors(None) is None


@pytest.mark.parametrize("text", ["100", "x64", "0x64", "100x1", "-1x3", "axb", "1x2x3"])
def test_a_forest_size_is_read_or_refused(text: str) -> None:
    assert Trees.parse("100x64") == Trees(rounds=100, leaves=64)
    with pytest.raises(PerfError, match="expected <rounds>x<leaves>"):
        Trees.parse(text)
