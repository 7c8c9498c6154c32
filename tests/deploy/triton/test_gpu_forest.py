"""The `fil` backend's GPU engine over a stand-in for nvforest, and over nvforest itself where it is installed."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import treelite

from exporters.forest import edge_rows, export_forest
from exporters.gates import TOLERANCE
from perf.gpu.backends import fil_engine
from tests.deploy.triton.gtil_nvforest import Nvforest
from training.models.forest import Member, merge

FEATURES = 6
NAMES = [f"f{i}" for i in range(FEATURES)]


@pytest.fixture(scope="module")
def engine() -> ModuleType:
    return fil_engine("gpu_forest")


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    return merge([Member(booster=train(1)), Member(booster=train(2), bias=-1.0), Member(booster=None)], NAMES)


@pytest.fixture(scope="module")
def checkpoint(booster: lgb.Booster, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("forest")
    booster.save_model(str(folder / "forest.txt"))
    export_forest(folder / "forest.txt", folder / "checkpoint.tl")
    return str(folder / "checkpoint.tl")


@pytest.fixture(scope="module")
def rows(booster: lgb.Booster) -> np.ndarray:
    return edge_rows(booster, np.random.default_rng(3).normal(size=(200, FEATURES)).astype(np.float32))


def train(seed: int) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, FEATURES)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(size=len(X)) > 0).astype(int)
    return lgb.train({"objective": "binary", "verbosity": -1, "num_leaves": 31}, lgb.Dataset(X, y), 20)


def expected(checkpoint: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(treelite.gtil.predict(treelite.Model.deserialize(checkpoint), rows)).reshape(len(rows), -1)


@pytest.mark.parametrize("precision", ["native", "single"])
@pytest.mark.parametrize("device", [None, 0])
def test_scores_are_treelites_on_edge_rows(
    engine: ModuleType, checkpoint: str, rows: np.ndarray, precision: str, device: int | None
) -> None:
    forest = engine.GpuForest(checkpoint, device, precision=precision, library=Nvforest())
    found = forest.predict(rows)
    assert (found.dtype, found.shape) == (np.float32, (len(rows), 3))
    assert np.abs(found - expected(checkpoint, rows)).max() <= TOLERANCE


def test_thresholds_rounded_to_the_nearest_would_answer_otherwise(checkpoint: str, rows: np.ndarray) -> None:
    model = treelite.Model.deserialize(checkpoint)
    plain = Nvforest().load_from_treelite_model(model, device="cpu", precision="single")
    assert np.abs(plain.predict_proba(rows) - expected(checkpoint, rows)).max() > 1e-3


def test_options_are_passed_on(engine: ModuleType, checkpoint: str) -> None:
    library = Nvforest()
    engine.GpuForest(checkpoint, 1, precision="native", layout="layered", chunk_size=8, library=library)
    assert library.loaded == {
        "device": "gpu", "device_id": 1, "layout": "layered", "precision": None, "default_chunk_size": 8,
    }  # fmt: skip


def test_no_rows_are_no_scores(engine: ModuleType, checkpoint: str) -> None:
    forest = engine.GpuForest(checkpoint, 0, library=Nvforest())
    assert forest.predict(np.empty((0, FEATURES), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(("options", "message"), [
    ({"layout": "spiral"}, "layout 'spiral'"),
    ({"precision": "half"}, "precision 'half'"),
    ({"library": Nvforest("CUDA driver version is\n insufficient")}, "does not load .*: CUDA driver version is insuff"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(engine: ModuleType, checkpoint: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.GpuForest(checkpoint, 0, **{"library": Nvforest(), **options})


def test_another_width_is_refused(engine: ModuleType, checkpoint: str) -> None:
    with pytest.raises(ValueError, match=r"\(2, 7\), expected \[n, 6\]"):
        engine.GpuForest(checkpoint, 0, library=Nvforest()).predict(np.zeros((2, 7), np.float32))


def test_without_the_package_the_error_names_it(engine: ModuleType, checkpoint: str) -> None:
    if importlib.util.find_spec("nvforest"):
        pytest.skip("nvforest is installed here")
    with pytest.raises(engine.GpuForestError, match="pip install nvforest-cu12"):
        engine.GpuForest(checkpoint, 0)


@pytest.mark.skipif(not importlib.util.find_spec("nvforest"), reason="nvforest is not installed")
@pytest.mark.filterwarnings("ignore::UserWarning")  # the wheel's Treelite may be older than the checkpoint's
@pytest.mark.parametrize("precision", ["native", "single"])
def test_nvforest_itself_in_cpu_mode(engine: ModuleType, checkpoint: str, rows: np.ndarray, precision: str) -> None:
    found = engine.GpuForest(checkpoint, None, precision=precision).predict(rows)
    assert np.abs(found - expected(checkpoint, rows)).max() <= TOLERANCE


def test_a_checkpoint_that_is_not_there_is_an_error(engine: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(treelite.TreeliteError):
        engine.GpuForest(str(tmp_path / "none.tl"), 0, library=Nvforest())
