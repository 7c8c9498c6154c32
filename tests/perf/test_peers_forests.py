"""Every forest engine that is compared scores like LightGBM, on edge rows too: else a ratio means nothing."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from exporters.forest import edge_rows, export_forest
from exporters.gates import TOLERANCE
from exporters.manifest import FILE, IndexFacts, Manifest
from feature_repo.schema import SCHEMA
from perf.compare.ranker import differences
from perf.errors import PerfError
from perf.peers.forests import LIGHTGBM, SERVED, Here, open_forests
from perf.peers.models import Release
from perf.peers.models import lightgbm as by_lightgbm
from tests.ports import isolated_settings
from training.lines import FOREST
from training.models.forest import Member, merge

WIDTH = 12
HERE = (SERVED, LIGHTGBM, "onedal", "treelite_gtil", "onnxruntime", "tl2cgen")


def train(seed: int, rounds: int) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, WIDTH)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = (np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 3]) + rng.normal(size=len(X)) > 0).astype(int)
    return lgb.train({"objective": "binary", "verbosity": -1, "num_leaves": 31}, lgb.Dataset(X, y), rounds)


def manifest(number: int) -> Manifest:
    index = IndexFacts(kind="flat", items=1, dimension=2, candidates=500, recall=1.0, bytes_per_item=8)
    return Manifest(
        release=number, line=1, slots={}, index=index, schema_hash=SCHEMA.hash, tower_digest="d", source="sample",
        as_of="2026-01-01", libraries={}, gates={}, metrics={}, created_at=datetime.now(UTC),
    )  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    settings = isolated_settings(tmp_path_factory.mktemp("release"))
    for number in (9, 10):
        (settings.releases / str(number) / "ranker").mkdir(parents=True)
        (settings.releases / str(number) / FILE).write_text(manifest(number).model_dump_json())
    (settings.lines / "1").mkdir(parents=True)
    newest = Release.newest(settings)
    members = [Member(booster=train(1, 20), scale=0.5), Member(booster=train(2, 35), bias=-1.0), Member(booster=None)]
    merge(members, [f"f{i}" for i in range(WIDTH)]).save_model(str(settings.lines / "1" / FOREST))
    export_forest(newest.forest, newest.checkpoint)
    return newest


@pytest.fixture(scope="module")
def rows(release: Release) -> np.ndarray:
    booster = lgb.Booster(model_file=str(release.forest))
    return edge_rows(booster, np.random.default_rng(5).normal(size=(300, WIDTH)).astype(np.float32))


def test_the_newest_release_is_the_largest_number(release: Release, tmp_path: Path) -> None:
    assert release.manifest.release == 10
    assert release.candidates == 500
    with pytest.raises(PerfError, match="has no release"):
        Release.newest(isolated_settings(tmp_path))


def test_every_engine_here_scores_like_lightgbm(release: Release, rows: np.ndarray, tmp_path: Path) -> None:
    with ExitStack() as held:
        forests = open_forests(release, [rows], tmp_path, held)
    assert set(HERE) <= set(forests.engines)
    assert set(forests.engines) | set(forests.missing) == {*HERE, "lleaves"}
    apart = differences(forests.engines)
    assert max(apart.values()) <= TOLERANCE, apart


def test_a_wrong_engine_is_seen(release: Release, rows: np.ndarray) -> None:
    def wrong(matrix: np.ndarray) -> np.ndarray:
        return by_lightgbm(release.forest)(matrix) + 1e-3

    engines = {LIGHTGBM: Here(by_lightgbm(release.forest), [rows]), "wrong": Here(wrong, [rows])}
    assert differences(engines)["wrong"] == pytest.approx(1e-3, rel=0.01)  # type: ignore[arg-type]


def test_a_sample_goes_round_the_matrices(rows: np.ndarray) -> None:
    seen: list[int] = []

    def counting(matrix: np.ndarray) -> np.ndarray:
        seen.append(len(matrix))
        return matrix

    engine: Callable[[], float] = Here(counting, [rows[:1], rows[:2], rows[:3]]).milliseconds
    assert engine() >= 0
    assert seen[:6] == [1, 2, 3, 1, 2, 3]
