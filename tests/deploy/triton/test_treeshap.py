"""The `treeshap` backend on a real booster: LightGBM's own contributions, which sum to the raw scores."""

import json
import subprocess
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from deploy.settings import ROOT
from tests.exporters.test_forest import FEATURES, NAMES, train
from training.models.forest import Member, merge

PYTHON = ROOT / ".venv-triton" / "bin" / "python"
BACKENDS = ROOT / "deploy" / "triton" / "backends"
STAND_IN = Path(__file__).parent / "stand_in"
EXPLAIN = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np, model
loaded = lambda: sorted({"lightgbm", "scipy", "sklearn", "pandas"} & set(sys.modules))
one = model.TritonPythonModel()
one.initialize(json.loads(sys.argv[3]))
before = loaded()
rows = np.load(sys.argv[4] + "/rows.npy")
found = one._compute({"ranker_features": rows})
np.save(sys.argv[4] + "/found.npy", found["contributions"])
print(json.dumps([before, loaded(), str(found["contributions"].dtype)]))
"""
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="Triton's environment is not set up; run `make setup`")


@pytest.fixture
def booster(tmp_path: Path) -> lgb.Booster:
    members = [Member(booster=train(1, 20), scale=0.5), Member(booster=train(2, 35), bias=-1.0), Member(booster=None)]
    merged = merge(members, NAMES)
    (tmp_path / "3").mkdir()
    merged.save_model(str(tmp_path / "3" / "forest.txt"))
    return merged


def explain(folder: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    config = {
        "name": "explain", "max_batch_size": 0,
        "input": [{"name": "ranker_features"}], "output": [{"name": "contributions"}],
    }  # fmt: skip
    arguments = {
        "model_config": json.dumps(config | changes), "model_instance_kind": "CPU", "model_instance_device_id": "0",
        "model_repository": str(folder), "model_version": "3",
    }  # fmt: skip
    command = [
        str(PYTHON),
        "-c",
        EXPLAIN,
        str(STAND_IN),
        str(BACKENDS / "treeshap"),
        json.dumps(arguments),
        str(folder),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_contributions_are_lightgbms_and_sum_to_the_raw_score(tmp_path: Path, booster: lgb.Booster) -> None:
    rows = np.random.default_rng(5).normal(size=(10, FEATURES)).astype(np.float32)
    rows[0], rows[1, 3], rows[2, 0], rows[3] = np.nan, np.inf, -np.inf, 0.0
    np.save(tmp_path / "rows.npy", rows)
    done = explain(tmp_path)
    before, after, dtype = json.loads(done.stdout)
    assert before == []  # a model nobody asks has loaded nothing
    assert after == ["lightgbm", "scipy"]
    assert dtype == "float32"
    found = np.load(tmp_path / "found.npy")
    assert found.shape == (10, 3, FEATURES + 1)
    expected = booster.predict(rows, pred_contrib=True).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=2), booster.predict(rows, raw_score=True), atol=1e-5)
    assert (found[:, 2, :-1] == 0).all()  # a constant objective has no reasons


def test_a_forest_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    assert "forest.txt is missing in version folder 3" in explain(tmp_path).stderr


def test_a_parameter_it_does_not_know_is_refused(tmp_path: Path, booster: lgb.Booster) -> None:
    assert "unknown parameter ['threads']" in explain(tmp_path, parameters={"threads": {"string_value": "2"}}).stderr
