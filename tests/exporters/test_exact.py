"""Exact search chunk by chunk is exact search."""

import numpy as np
import pytest

from exporters.exact import ExactSearch, recall
from feature_repo.vectors import Floats


def normal(n: int, seed: int, d: int = 8) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("cuts", [[], [1], [5, 6, 90], [10, 20, 30, 40, 50, 60, 70, 80, 90]])
@pytest.mark.parametrize("depth", [1, 7, 100])
def test_chunks_do_not_matter(cuts: list[int], depth: int) -> None:
    vectors, queries = normal(100, 0), normal(5, 1)
    search, first = ExactSearch(queries, depth), 0
    for chunk in np.split(vectors, cuts):
        search.add(chunk, first)
        first += len(chunk)
    order = np.argsort(-(queries @ vectors.T), axis=1)[:, :depth]
    assert (search.top(depth) == order).all()
    assert (search.vectors == vectors[order]).all()


def test_only_allowed_rows_count() -> None:
    vectors, queries, allowed = normal(100, 0), normal(5, 1), np.arange(100) % 3 == 0
    search = ExactSearch(queries, 50)
    search.add(vectors[:50], 0, allowed[:50])
    search.add(vectors[50:60], 50, np.zeros(10, bool))
    search.add(vectors[60:], 60, allowed[60:])
    expected = np.flatnonzero(allowed & ((np.arange(100) < 50) | (np.arange(100) >= 60)))
    assert sorted(search.top(50)[0].tolist()) == expected.tolist()
    assert search.top(3).shape == (5, 3)


def test_recall_counts_hits_in_any_order() -> None:
    assert recall(np.array([[3, 2, 1], [9, 9, 9]]), np.array([[1, 2], [4, 5]])) == 0.5
