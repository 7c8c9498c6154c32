"""The merged forest is exactly its members."""

import lightgbm as lgb
import numpy as np
import pytest

from feature_repo.vectors import Floats
from training.models.forest import ForestError, Member, merge

FEATURES = 7
NAMES = [f"f{i}" for i in range(FEATURES)]


def rows(seed: int = 0, n: int = 4000) -> Floats:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, FEATURES)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    return X


def booster(objective: str, rounds: int, seed: int) -> lgb.Booster:
    X = rows(seed)
    y = (np.nan_to_num(X[:, seed % FEATURES]) + np.random.default_rng(seed).normal(size=len(X)) > 0).astype(int)
    data = lgb.Dataset(X, y, group=[20] * (len(X) // 20) if objective == "lambdarank" else None)
    return lgb.train({"objective": objective, "verbosity": -1, "num_leaves": 15}, data, rounds)


def sigmoid(raw: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-raw))


def test_classes_are_the_members_scores() -> None:
    X = rows(9, 500)
    relevance, ctr = booster("lambdarank", 12, 1), booster("binary", 30, 2)
    members = [Member(booster=relevance, scale=0.25), Member(booster=ctr, bias=-1.5), Member(booster=None, bias=-2.0)]
    scores = merge(members, NAMES).predict(X)
    assert np.abs(scores[:, 0] - sigmoid(0.25 * relevance.predict(X, raw_score=True))).max() < 1e-15
    assert np.abs(scores[:, 1] - sigmoid(ctr.predict(X, raw_score=True) - 1.5)).max() < 1e-15
    assert np.abs(scores[:, 2] - sigmoid(np.float64(-2.0))).max() < 1e-15


def test_early_stopped_booster_keeps_its_best_rounds() -> None:
    full = booster("binary", 20, 3)
    full.best_iteration = 5
    X = rows(4, 100)
    merged = merge([Member(booster=full), Member(booster=None), Member(booster=None)], NAMES)
    assert np.abs(merged.predict(X)[:, 0] - full.predict(X, num_iteration=5)).max() < 1e-15


def test_another_feature_count_is_refused() -> None:
    with pytest.raises(ForestError, match="booster has 7 features, expected 3"):
        merge([Member(booster=booster("binary", 3, 1))], ["a", "b", "c"])


def test_categorical_splits_are_refused() -> None:
    X = np.random.default_rng(0).integers(0, 6, size=(2000, 2)).astype(np.float32)
    data = lgb.Dataset(X, (X[:, 0] == 3).astype(int), categorical_feature=[0])
    with pytest.raises(ForestError, match="categorical"):
        merge([Member(booster=lgb.train({"objective": "binary", "verbosity": -1}, data, 3))], ["a", "b"])
