"""Metrics against answers worked out by hand."""

import math

import numpy as np
import pytest

from training.metrics import auc, log_loss, ndcg_at_k, recall_at_k


def test_ndcg_of_two_lists() -> None:
    groups = np.array([0, 0, 0, 1, 1])
    grades = np.array([0, 1, 3, 1, 0])
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1], np.float32)
    first = (1 / math.log2(3) + 7 / math.log2(4)) / (7 + 1 / math.log2(3))
    assert ndcg_at_k(groups, grades, scores) == pytest.approx((first + 1.0) / 2)


def test_ndcg_cuts_at_k_and_skips_lists_without_a_positive() -> None:
    groups, grades = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])
    assert ndcg_at_k(groups, grades, np.array([1.0, 0.0, 1.0, 0.0], np.float32), k=1) == 0.0
    assert ndcg_at_k(groups, np.zeros(4, int), np.zeros(4, np.float32)) is None


def test_ndcg_ranks_non_finite_scores_last() -> None:
    groups, grades = np.array([0, 0]), np.array([1, 0])
    assert ndcg_at_k(groups, grades, np.array([0.1, np.nan], np.float32)) == 1.0


def test_recall_counts_against_what_could_be_found() -> None:
    ranked = {"a": np.array([1, 2, 3]), "b": np.array([9, 8, 7])}
    truth = {"a": {1, 3, 5}, "b": {7}}
    assert recall_at_k(ranked, truth, 2) == pytest.approx((1 / 2 + 0) / 2)
    assert recall_at_k(ranked, truth, 3) == pytest.approx((2 / 3 + 1) / 2)
    assert recall_at_k({}, {}, 3) is None


def test_auc_and_log_loss() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    assert auc(labels, scores) == pytest.approx(0.75)
    assert auc(np.ones(4, int), scores) is None
    assert log_loss(np.array([1, 0]), np.array([0.5, 0.5], np.float32)) == pytest.approx(math.log(2))
