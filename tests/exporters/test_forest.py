"""The served forest scores like LightGBM, edge rows included; a forest that does not is refused."""

import subprocess
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from deploy.settings import ROOT
from exporters.errors import GateError
from exporters.forest import LIGHTGBM_ZERO, edge_rows, export_forest, gate_forest
from exporters.gates import TOLERANCE, check_scores
from training.models.forest import Member, merge

TRITON_PYTHON = ROOT / ".venv-triton" / "bin" / "python"
BACKEND = ROOT / "deploy" / "triton" / "backends" / "fil"
FEATURES = 12
NAMES = [f"f{i}" for i in range(FEATURES)]


def train(seed: int, rounds: int) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6000, FEATURES)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    X[:, 3] = rng.integers(0, 4, len(X))  # never missing in training: LightGBM reads NaN there as 0
    y = (np.nan_to_num(X[:, 0]) + X[:, 3] + rng.normal(size=len(X)) > 1).astype(int)
    return lgb.train({"objective": "binary", "verbosity": -1, "num_leaves": 31}, lgb.Dataset(X, y), rounds)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    members = [Member(booster=train(1, 20), scale=0.5), Member(booster=train(2, 35), bias=-1.0), Member(booster=None)]
    merge(members, NAMES).save_model(str(folder / "forest.txt"))
    export_forest(folder / "forest.txt", folder / "checkpoint.tl")
    return folder


@pytest.fixture(scope="module")
def booster(forest: Path) -> lgb.Booster:
    return lgb.Booster(model_file=str(forest / "forest.txt"))


@pytest.fixture(scope="module")
def rows(booster: lgb.Booster) -> np.ndarray:
    return edge_rows(booster, np.random.default_rng(5).normal(size=(500, FEATURES)).astype(np.float32))


def test_edge_rows_hold_what_breaks_forests(booster: lgb.Booster, rows: np.ndarray) -> None:
    assert np.isnan(rows).any()
    assert np.isposinf(rows).any()
    assert np.isneginf(rows).any()
    with np.errstate(over="ignore"):  # LightGBM writes 1e300 for "every finite value goes left"
        thresholds = booster.trees_to_dataframe()["threshold"].dropna().to_numpy().astype(np.float32)
    assert np.isin(rows, thresholds).any()


def test_checkpoint_equals_lightgbm(forest: Path, booster: lgb.Booster, rows: np.ndarray) -> None:
    assert gate_forest(booster, forest / "checkpoint.tl", rows) <= TOLERANCE


def test_values_only_lightgbm_reads_as_zero_are_asked_as_zero(booster: lgb.Booster, rows: np.ndarray) -> None:
    known = np.abs(rows[np.isfinite(rows)])
    assert not ((known > 0) & (known < LIGHTGBM_ZERO)).any()
    assert (known == 0).any()


def test_another_forest_is_refused(forest: Path, rows: np.ndarray) -> None:
    other = merge([Member(booster=train(3, 5)), Member(booster=None), Member(booster=None)], NAMES)
    with pytest.raises(GateError, match=r"checkpoint\.tl: scores differ by"):
        gate_forest(other, forest / "checkpoint.tl", rows)


def test_non_finite_scores_are_refused() -> None:
    with pytest.raises(GateError):
        check_scores("x", np.array([np.nan]), np.array([0.5]))


@pytest.mark.skipif(not TRITON_PYTHON.exists(), reason="Triton's environment is not set up; run `make setup`")
def test_the_served_engine_equals_lightgbm(
    forest: Path, booster: lgb.Booster, rows: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "rows.npy", rows)
    code = (
        "import sys, numpy as np; from forest import Forest; folder, work = sys.argv[1:]\n"
        "engine = Forest(folder + '/checkpoint.tl')\n"
        "rows = np.load(work + '/rows.npy')\n"
        "np.save(work + '/whole.npy', engine.predict(rows))\n"
        "np.save(work + '/single.npy', np.concatenate([engine.predict(rows[i:i+1]) for i in range(50)]))\n"
    )
    subprocess.run([TRITON_PYTHON, "-c", code, forest, tmp_path], cwd=BACKEND, check=True)
    expected = booster.predict(rows)
    found = np.load(tmp_path / "whole.npy")
    assert check_scores("served", found, expected) <= TOLERANCE
    assert (np.load(tmp_path / "single.npy") == found[:50]).all()
    for column in range(3):  # the same order, where LightGBM tells two rows apart by more than float32 can lose
        order = np.argsort(-expected[:, column], kind="stable")
        gaps = -np.diff(expected[order, column])
        assert (np.diff(found[order, column])[gaps > TOLERANCE] < 0).all()
