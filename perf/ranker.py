"""The ranker stage: the forest engine that Triton serves beside `lightgbm predict`, one thread each, same rows.

Two processes take turns (A B A B …), because the engines live in different environments; the ratio is pair by pair.
"""

import json
import statistics
import subprocess
import time
from pathlib import Path

import lightgbm as lgb
import numpy as np

from deploy.settings import ROOT, Settings
from model_repository.contract import CANDIDATES, RANKER
from perf.errors import PerfError
from perf.release import newest
from training.dataset import Dataset
from training.lines import FOREST, Line
from training.matrices import Graphs

WORKER = Path(__file__).with_name("forest_worker.py")
PYTHON = ROOT / ".venv-triton" / "bin" / "python"
BACKEND = ROOT / "deploy" / "triton" / "backends" / "fil"
ROUNDS, CALLS = 15, 20


def compare(settings: Settings) -> dict[str, object]:
    """Milliseconds for one request's candidates by both engines, their ratio, and how far their scores are apart."""
    manifest, line = newest(settings)
    checkpoint = settings.releases / str(manifest.release) / RANKER.name / RANKER.artifact
    booster = lgb.Booster(model_file=str(line.folder / FOREST))
    matrix = _matrix(settings, line)
    with _worker(checkpoint, settings.workspace / "perf", matrix) as worker:
        pairs = [(_time(booster, matrix), _ask(worker)) for _ in range(ROUNDS + 2)][2:]
    scores = np.load(settings.workspace / "perf" / "scores.npy")
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    return {
        "rows": CANDIDATES, "features": matrix.shape[1], "trees": booster.num_trees(),
        "lightgbm_ms": round(statistics.median(theirs for theirs, _ in pairs), 3),
        "fil_backend_ms": round(statistics.median(ours for _, ours in pairs), 3),
        "speedup": round(1 / statistics.median(ratios), 2),
        "speedup_range": [round(1 / ratios[-1], 2), round(1 / ratios[0], 2)],
        "max_difference": float(np.abs(scores - booster.predict(matrix)).max()),
    }  # fmt: skip


def _matrix(settings: Settings, line: Line) -> np.ndarray:
    dataset = Dataset(settings.features)
    examples = dataset.examples("test")
    rows = np.random.default_rng(0).choice(len(examples), CANDIDATES)
    return Graphs(line.folder).matrix(dataset, examples)[rows]


def _worker(checkpoint: Path, work: Path, matrix: np.ndarray) -> subprocess.Popen[str]:
    work.mkdir(parents=True, exist_ok=True)
    np.save(work / "rows.npy", matrix)
    command = [str(PYTHON), str(WORKER), str(BACKEND), str(checkpoint), str(work), str(CALLS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise PerfError("the forest worker ended early; run `make setup`")
    return float(json.loads(answer)["ms"])


def _time(booster: lgb.Booster, matrix: np.ndarray) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        booster.predict(matrix, num_threads=1)
    return (time.perf_counter() - started) * 1000 / CALLS
