"""The served forest scores like LightGBM, edge rows included; a forest that does not is refused."""

import subprocess
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from deploy.settings import ROOT
from deploy.triton.backends.fil.forest import Forest
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


def request_rows(rows: np.ndarray, constant: int) -> np.ndarray:
    """Rows without missing values, the first `constant` columns the same in all: what a request asks for."""
    known = np.nan_to_num(rows, nan=0.25, posinf=np.inf, neginf=-np.inf)
    known[:, :constant] = known[7, :constant]
    return known


def large(seed: int) -> lgb.Booster:
    """Trees of more leaves than a word has bits."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20000, FEATURES)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=len(X)) > 1).astype(int)
    parameters = {"objective": "binary", "verbosity": -1, "num_leaves": 200, "min_data_in_leaf": 5}
    return lgb.train(parameters, lgb.Dataset(X, y), 6)


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


@pytest.mark.parametrize("constant", [0, 5, 11, FEATURES])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 500])
def test_columns_that_are_the_same_in_all_rows_change_no_score(
    forest: Path, booster: lgb.Booster, rows: np.ndarray, constant: int, count: int
) -> None:
    asked = request_rows(rows, constant)[:count]
    found = Forest(str(forest / "checkpoint.tl")).predict(asked)
    assert check_scores("folded", found, booster.predict(asked)) <= TOLERANCE


def test_a_constant_column_on_a_threshold_goes_left(forest: Path, booster: lgb.Booster, rows: np.ndarray) -> None:
    engine, known = Forest(str(forest / "checkpoint.tl")), rows[~np.isnan(rows).any(axis=1)]
    found = np.concatenate([engine.predict(known[i : i + 1]) for i in range(len(known))])
    assert check_scores("alone", found, booster.predict(known)) <= TOLERANCE


def test_both_zeros_are_one_number(forest: Path, booster: lgb.Booster) -> None:
    asked = np.zeros((70, FEATURES), np.float32)
    asked[::2] = -0.0
    found = Forest(str(forest / "checkpoint.tl")).predict(asked)
    assert (found == found[0]).all()
    assert check_scores("zeros", found, booster.predict(asked)) <= TOLERANCE


@pytest.mark.parametrize("constant", [0, 6])
def test_trees_too_large_for_a_word_are_walked(tmp_path: Path, rows: np.ndarray, constant: int) -> None:
    merged = merge([Member(booster=large(4)), Member(booster=train(5, 9)), Member(booster=None)], NAMES)
    merged.save_model(str(tmp_path / "forest.txt"))
    export_forest(tmp_path / "forest.txt", tmp_path / "checkpoint.tl")
    asked, engine = request_rows(rows, constant), Forest(str(tmp_path / "checkpoint.tl"))
    assert check_scores("large", engine.predict(asked), merged.predict(asked)) <= TOLERANCE
    assert check_scores("edge rows", engine.predict(rows), merged.predict(rows)) <= TOLERANCE


def test_rows_that_triton_lends_are_only_read(forest: Path, rows: np.ndarray) -> None:
    engine, lent = Forest(str(forest / "checkpoint.tl")), rows.copy()
    lent.setflags(write=False)
    assert (engine.predict(lent) == engine.predict(rows)).all()
    lent = request_rows(rows, 3)
    expected = engine.predict(lent)
    lent.setflags(write=False)
    assert (engine.predict(lent) == expected).all()


def test_threads_share_the_rows(forest: Path, rows: np.ndarray) -> None:
    one, four = (Forest(str(forest / "checkpoint.tl"), threads).predict(rows) for threads in (1, 4))
    assert (one == four).all()


def test_no_rows_have_no_scores(forest: Path) -> None:
    engine = Forest(str(forest / "checkpoint.tl"))
    assert engine.predict(np.empty((0, FEATURES), np.float32)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"expected \[n, 12\]"):
        engine.predict(np.empty((2, FEATURES + 1), np.float32))
