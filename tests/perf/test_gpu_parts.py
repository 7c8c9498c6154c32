"""Every part of the GPU suite on the CPU at a tiny size: measured, resumed, absent, refused."""

import warnings
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from exporters.forest import edge_rows, export_forest
from feature_repo.vectors import Floats
from perf.gpu.candidates import measure_candidates
from perf.gpu.cells import Cells, read_cells
from perf.gpu.cpu import CpuDevice
from perf.gpu.device import AbsentError, Predictor, Searcher
from perf.gpu.graph import CUDA, OnnxGraph, random_inputs
from perf.gpu.parity import ParityError
from perf.gpu.path import measure_path
from perf.gpu.ranker import measure_ranker
from perf.gpu.ranker import parity as forest_parity
from perf.gpu.towers import measure_towers
from perf.gpu.towers import parity as graph_parity
from perf.gpu.vectors import Mixture, Vectors
from tests.ports import isolated_settings
from training.matrices import export_assembler, export_towers
from training.models.forest import Member, merge
from training.models.towers import TwoTower

ITEMS, K, FEATURES = 3000, 50, 8
VECTORS = Mixture(ITEMS, dimension=16)
CELLS = {f"{ITEMS}-{name}" for name in ("exact", *CpuDevice.indexes)}
NAMES = [f"f{i}" for i in range(FEATURES)]


class Watched(CpuDevice):
    """The CPU, which remembers what it built, can be stopped at an index and can lack one."""

    def __init__(self, stop: str = "", lacks: str = "") -> None:
        self.built: list[str] = []
        self._stop, self._lacks = stop, lacks

    def index(self, name: str, vectors: Vectors) -> Searcher:
        if name == self._stop:
            raise KeyboardInterrupt
        if name == self._lacks:
            raise AbsentError(f"{name} needs a package")
        self.built.append(name)
        return super().index(name, vectors)


class Wrong:
    """A forest that is a little off, or only when rows come one at a time."""

    def __init__(self, right: Predictor, one_row_only: bool = False) -> None:
        self._right, self._one_row_only = right, one_row_only

    def predict(self, X: Floats) -> Floats:
        off = 0.0 if self._one_row_only and len(X) > 1 else 2e-6
        return self._right.predict(X) + np.float32(off)


class Tilted:
    """A graph whose answer is a little off."""

    def __init__(self, right: OnnxGraph) -> None:
        self._right = right

    def run(self, inputs: Any) -> Floats:
        return self._right.run(inputs) * np.float32(1.001)


def candidates(folder: Path, device: CpuDevice) -> dict[str, str]:
    cells = Cells(folder=folder, device=device, seconds=60)
    return dict(measure_candidates(cells, [VECTORS], batches=(1, 4), seconds=0.0, k=K))


def cell(folder: Path, name: str) -> dict[str, Any]:
    return next(c for c in read_cells(folder) if c["cell"] == name)


def test_candidates_reach_their_recall(tmp_path: Path) -> None:
    assert candidates(tmp_path, CpuDevice()) == dict.fromkeys(CELLS, "measured")
    found = {c["cell"]: c for c in read_cells(tmp_path)}
    assert found[f"{ITEMS}-flat-fp32"]["recall"] == 1.0
    for name in CELLS - {f"{ITEMS}-exact"}:
        one = found[name]
        assert one["reached_target"]
        assert list(one["recalls"].values())[-1] == one["recall"] >= 0.95
        assert [p["batch"] for p in one["points"]] == [1, 4]
        assert (one["items"], one["k"], one["dimension"]) == (ITEMS, K, 16)
    recalls = list(found[f"{ITEMS}-ivf-fp32"]["recalls"].values())
    assert recalls == sorted(recalls)
    assert len(recalls) == 1 or recalls[-2] < 0.95  # the cheapest setting that does


def test_exact_answers_are_the_scan_of_all_rows(tmp_path: Path) -> None:
    candidates(tmp_path, Watched(lacks="flat-fp32"))
    rows = next(iter(VECTORS.chunks()))[1]
    known = np.array(cell(tmp_path, f"{ITEMS}-exact")["rows"])
    scores = VECTORS.queries(len(known)) @ rows.T
    assert (known[:, 0] == scores.argmax(axis=1)).all()
    assert (np.sort(known, axis=1) == np.sort(np.argsort(-scores, axis=1)[:, :K], axis=1)).mean() > 0.999


def test_an_interrupted_part_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = Watched(stop="ivf-fp32"), Watched()
    with pytest.raises(KeyboardInterrupt):
        candidates(tmp_path, first)
    kept = {c["cell"]: c["points"] for c in read_cells(tmp_path) if "points" in c}
    assert candidates(tmp_path, second) == dict.fromkeys(CELLS, "measured")
    assert first.built == ["flat-fp32", "flat-fp16"]
    assert second.built == ["ivf-fp32", "ivf-fp16", "ivf-sq8"]
    assert all(cell(tmp_path, name)["points"] == points for name, points in kept.items())


def test_what_is_absent_is_recorded_and_tried_again(tmp_path: Path) -> None:
    outcome = candidates(tmp_path, Watched(lacks="ivf-sq8"))
    assert outcome.pop(f"{ITEMS}-ivf-sq8") == "absent"
    assert set(outcome.values()) == {"measured"}
    assert cell(tmp_path, f"{ITEMS}-ivf-sq8")["reason"] == "ivf-sq8 needs a package"
    later = Watched()
    assert candidates(tmp_path, later)[f"{ITEMS}-ivf-sq8"] == "measured"
    assert later.built == ["ivf-sq8"]


def test_candidates_wait_for_the_exact_answers(tmp_path: Path) -> None:
    cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=-1)
    assert set(measure_candidates(cells, [VECTORS], k=K).values()) == {"waiting"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    merge([Member(booster=train(1)), Member(booster=train(2), bias=-1.0), Member(booster=None)], NAMES).save_model(
        str(folder / "forest.txt")
    )
    export_forest(folder / "forest.txt", folder / "checkpoint.tl")
    return folder / "checkpoint.tl"


def train(seed: int) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, FEATURES)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(size=len(X)) > 0).astype(int)
    return lgb.train({"objective": "binary", "verbosity": -1, "num_leaves": 15}, lgb.Dataset(X, y), 10)


@pytest.fixture(scope="module")
def rows(checkpoint: Path) -> Floats:
    booster = lgb.Booster(model_file=str(checkpoint.with_name("forest.txt")))
    return edge_rows(booster, np.random.default_rng(3).normal(size=(100, FEATURES)).astype(np.float32))


def test_the_forest_is_gated_then_timed(tmp_path: Path, checkpoint: Path, rows: Floats) -> None:
    cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=60)
    outcome = measure_ranker(cells, checkpoint, rows, sizes=(10, 2000), seconds=0.0)
    assert outcome["trident"] == "measured"
    found = cell(tmp_path, "trident")
    assert [p["batch"] for p in found["points"]] == [10, 2000]
    assert max(found["parity"].values()) <= 1e-6
    assert (found["trees"], found["features"], found["parity_rows"]) == (30, FEATURES, len(rows))  # padded with stumps


def test_without_nvforest_its_cell_says_so(tmp_path: Path, checkpoint: Path, rows: Floats) -> None:
    try:
        import nvforest  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=60)
        assert measure_ranker(cells, checkpoint, rows, sizes=(10,), seconds=0.0)["nvforest"] == "absent"
        assert "nvforest-cu12" in cell(tmp_path, "nvforest")["reason"]
    else:
        pytest.skip("nvforest is installed here")


@pytest.mark.parametrize(("one_row_only", "message"), [(False, "against Treelite"), (True, "one row at a time")])
def test_a_forest_that_scores_otherwise_is_not_timed(
    tmp_path: Path, checkpoint: Path, rows: Floats, one_row_only: bool, message: str
) -> None:
    class Off(CpuDevice):
        forests = ("trident",)

        def forest(self, name: str, checkpoint: Path) -> Predictor:
            return Wrong(super().forest(name, checkpoint), one_row_only)

    cells = Cells(folder=tmp_path, device=Off(), seconds=60)
    assert measure_ranker(cells, checkpoint, rows, sizes=(10,), seconds=0.0) == {"trident": "failed"}
    found = cell(tmp_path, "trident")
    assert message in found["reason"]
    assert "points" not in found
    assert forest_parity(CpuDevice().forest("trident", checkpoint), checkpoint, rows)["treelite"] <= 1e-6


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    with warnings.catch_warnings(action="ignore"):  # torch's exporter warns of itself
        export_towers(TwoTower(), folder)
        export_assembler(folder)
    return folder


def test_graphs_are_gated_then_timed_both_ways(tmp_path: Path, graphs: Path) -> None:
    cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=60)
    sizes = {"user_tower": (1, 4), "item_tower": (2,), "assemble": (1, 2)}
    assert set(measure_towers(cells, graphs, sizes, 0.0, candidates=5).values()) == {"measured"}
    for name, batches in sizes.items():
        found = cell(tmp_path, name)
        assert found["parity"] == 0.0
        assert [p["batch"] for p in found["points"]] == [p["batch"] for p in found["bound"]] == list(batches)
    assert cell(tmp_path, "assemble")["row"]["item_features"][0] == 5


def test_a_graph_that_answers_otherwise_is_refused(graphs: Path) -> None:
    path = graphs / "user_tower.onnx"
    assert graph_parity(OnnxGraph(path, "cpu"), path, 5) == 0.0
    with pytest.raises(ParityError, match="user_tower: differs by"):
        graph_parity(Tilted(OnnxGraph(path, "cpu")), path, 5)  # type: ignore[arg-type]


def test_inputs_have_the_shapes_the_graph_wants(graphs: Path) -> None:
    inputs = random_inputs(graphs / "assemble.onnx", 3, 7)
    assert inputs["item_key"].shape == (3, 7)
    assert inputs["item_key"].dtype == np.int64
    assert inputs["item_features"].shape[:2] == (3, 7)
    assert OnnxGraph(graphs / "assemble.onnx", "cpu").run(inputs).shape[0] == 21


def test_without_a_gpu_a_graph_is_absent_not_silently_on_the_cpu(graphs: Path) -> None:
    import onnxruntime as ort

    if CUDA in ort.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed here")
    with pytest.raises(AbsentError, match="onnxruntime-gpu"):
        OnnxGraph(graphs / "user_tower.onnx", "cuda")


def test_a_workspace_without_a_release_has_no_path(tmp_path: Path) -> None:
    cells = Cells(folder=tmp_path / "out", device=CpuDevice(), seconds=60)
    outcome = measure_path(cells, "own", isolated_settings(tmp_path), clients=(1, 2))
    assert outcome == dict.fromkeys(("own-rest-1", "own-rest-2", "own-ensemble-1", "own-ensemble-2"), "absent")
    assert "has no release" in cell(tmp_path / "out", "own-rest-1")["reason"]
