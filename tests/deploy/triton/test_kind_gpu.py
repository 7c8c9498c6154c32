"""KIND_GPU without a GPU or its packages: each backend refuses to load, in one line that says what to install."""

import json
import shutil
import subprocess
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from deploy.settings import ROOT
from deploy.triton.backends.faiss.records import record_type
from exporters.forest import export_forest
from tests.deploy.triton.test_gpu_forest import NAMES, train
from training.models.forest import Member, merge
from training.models.onnx import export

PYTHON = ROOT / ".venv-triton" / "bin" / "python"
BACKENDS = ROOT / "deploy" / "triton" / "backends"
STAND_IN = Path(__file__).parent / "stand_in"
FIL = {"model_type": "treelite_checkpoint", "is_classifier": "false"}
LOAD = """
import json, sys, traceback
sys.path[:0] = sys.argv[1:3]
import model
try:
    model.TritonPythonModel().initialize(json.loads(sys.argv[3]))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
else:
    print("loaded")
"""

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="Triton's environment is not set up; run `make setup`"),
    pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU"),
]


def initialize(backend: str, version: Path, parameters: dict[str, str], kind: str, k: int = 5) -> str:
    """What loading the version folder says."""
    config = {
        "name": backend, "max_batch_size": 8, "input": [{"name": "x"}],
        "output": [{"name": "item_key" if backend == "faiss" else "y", "dims": [k]}],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }  # fmt: skip
    arguments = {
        "model_config": json.dumps(config), "model_instance_kind": kind, "model_instance_device_id": "0",
        "model_repository": str(version.parent), "model_version": version.name,
    }  # fmt: skip
    command = [str(PYTHON), "-c", LOAD, str(STAND_IN), str(BACKENDS / backend), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with an artifact for every backend."""
    folder = tmp_path_factory.mktemp("model") / "1"
    folder.mkdir()
    merge([Member(booster=train(1)), Member(booster=None), Member(booster=None)], NAMES).save_model(
        str(folder / "forest.txt")
    )
    export_forest(folder / "forest.txt", folder / "checkpoint.tl")
    index = faiss.IndexFlatIP(4)
    index.add(np.eye(4, dtype=np.float32))
    faiss.write_index(index, str(folder / "index.faiss"))
    np.save(folder / "keys.npy", np.arange(4))
    np.save(folder / "rules.npy", np.ones((4, 2), np.float32))
    np.save(folder / "regions.npy", np.ones((4, 1), np.uint64))
    np.save(folder / "records.npy", np.zeros(4, record_type(4, 2, {"f4": [0]})))
    facts = {"items": 4, "dimension": 4, "nprobe": 0, "ef_search": 0, "id_bytes": 4, "feature_columns": {"f4": [0]},
             "rule_columns": ["in_stock", "is_safe"], "regions": {}}  # fmt: skip
    (folder / "table.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def graph(version: Path) -> Path:
    """The version folder with a graph in it."""
    import warnings

    with warnings.catch_warnings(action="ignore"):  # torch's exporter warns of itself
        export(torch.nn.Linear(3, 2), version / "model.onnx", {"x": torch.rand(2, 3)}, "y", {"x": ["n", None]})
    return version


@pytest.mark.parametrize(("backend", "parameters"), [("fil", FIL), ("faiss", {})])
def test_kind_cpu_loads(version: Path, backend: str, parameters: dict[str, str]) -> None:
    assert initialize(backend, version, parameters, "CPU") == "loaded"


@pytest.mark.parametrize(("backend", "parameters", "message"), [
    ("fil", FIL, "nvforest"),
    ("fil", FIL | {"layout": "spiral"}, "layout 'spiral'"),
    ("faiss", {}, "FAISS"),
    ("faiss", {"gpu_storage": "int8"}, "gpu_storage is 'int8'"),
    ("faiss", {"gpu_scratch": "1"}, "unknown parameter ['gpu_scratch']"),
])  # fmt: skip
def test_kind_gpu_says_what_is_missing(version: Path, backend: str, parameters: dict[str, str], message: str) -> None:
    said = initialize(backend, version, parameters, "GPU")
    assert "Error: " in said
    assert message in said


def test_a_graph_loads_on_the_cpu_and_never_falls_back_to_it(graph: Path) -> None:
    assert initialize("onnxruntime", graph, {}, "CPU") == "loaded"
    assert "onnxruntime-gpu" in initialize("onnxruntime", graph, {}, "GPU")
