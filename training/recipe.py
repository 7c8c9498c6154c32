"""The recipe: towers, matrices, forest on the training window; then the same again through T, which is what serves.

    learn ── recipe/ with its metrics on the test window ── (the gate of the daily run) ── refit ── lines/L
"""  # fmt: skip

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from safetensors.torch import save_model

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from training.dataset import Dataset, Split
from training.drift.reference import store_reference
from training.errors import DataError
from training.evaluate import judge, recall, retrieval_task
from training.lines import (
    ASSEMBLE,
    FACTS,
    FOREST,
    LEARNT,
    METRICS,
    RECIPE,
    WEIGHTS,
    Line,
    new_line,
    read_json,
    write_json,
)
from training.matrices import Graphs, export_assembler, export_towers
from training.models import ranking, retrieval
from training.models.forest import merge
from training.models.ranking import RankerConfig, Table
from training.models.retrieval import TowerConfig
from training.models.towers import TwoTower

Report = Callable[[str, int, int], None]
EVERY_SPLIT: tuple[Split, ...] = ("train", "validation", "test")
LIBRARIES = ("torch", "lightgbm", "onnx", "onnxruntime", "numpy")


def train(settings: Settings, report: Report) -> Line:
    """Train a new line: early stopping on validation, judged on test, refit through T. Returns the line."""
    with tempfile.TemporaryDirectory() as folder:
        learn(settings, Path(folder), report)
        return refit(settings, Path(folder), report)


def learn(settings: Settings, recipe: Path, report: Report) -> dict[str, Any]:
    """Train on the training window alone into the folder `recipe`; returns its metrics on the test window."""
    dataset = Dataset(settings.features)
    dataset.require(*EVERY_SPLIT)
    towers, ranker = _configs(settings, dataset)
    export_assembler(recipe)
    epochs = _fit_towers(dataset, ("train",), towers, True, recipe, report)
    rounds = _fit_ranker(dataset, ("train",), "validation", ranker, None, recipe, report)
    metrics = judge(settings, recipe)
    write_json(recipe / METRICS, metrics)
    write_json(recipe / LEARNT, {"epochs": epochs, "rounds": rounds, "as_of": dataset.facts["as_of"]})
    return metrics


def refit(settings: Settings, recipe: Path, report: Report, day: str | None = None) -> Line:
    """A new line: what `learn` found, trained again through T; `day` marks it as a daily run's. Returns the line.

    Raises DataError when the features are no longer those the recipe was learnt on.
    """
    dataset, learnt = Dataset(settings.features), read_json(recipe / LEARNT)
    if learnt["as_of"] != dataset.facts["as_of"]:
        raise DataError(
            f"{recipe}: learnt on features as of {learnt['as_of']}, {settings.features} is as of "
            f"{dataset.facts['as_of']}; train again"
        )
    towers, ranker = _configs(settings, dataset)
    epochs, rounds = learnt["epochs"], learnt["rounds"]
    with new_line(settings.lines, day) as line:
        shutil.copytree(recipe, line.folder / RECIPE)
        shutil.copyfile(recipe / ASSEMBLE, line.folder / ASSEMBLE)
        _fit_towers(dataset, EVERY_SPLIT, replace(towers, epochs=epochs), False, line.folder, report)
        _fit_ranker(dataset, EVERY_SPLIT, None, ranker, rounds, line.folder, report)
        store_reference(dataset, line.folder, settings.seed)
        write_json(line.folder / METRICS, {"line": line.number, **read_json(recipe / METRICS)})
        write_json(line.folder / FACTS, _facts(settings, dataset, line.number, epochs, rounds) | {"day": day})
    return Line(line.number, settings.lines / str(line.number))


def _configs(settings: Settings, dataset: Dataset) -> tuple[TowerConfig, RankerConfig]:
    positives = int(dataset.facts["minimum_positives"])
    return TowerConfig(seed=settings.seed), RankerConfig(seed=settings.seed, min_positives=positives)


def _fit_towers(
    dataset: Dataset, splits: tuple[Split, ...], config: TowerConfig, judged: bool, folder: Path, report: Report
) -> int:
    """Train the towers on the splits, write weights and graphs; returns the epochs taken."""
    judge = _validation_recall(dataset) if judged else None
    towers, epochs = retrieval.train(dataset, dataset.pairs(*splits), config, judge, report)
    save_model(towers, str(folder / WEIGHTS))
    export_towers(towers, folder)
    return epochs


def _validation_recall(dataset: Dataset) -> Callable[[TwoTower], float]:
    task = retrieval_task(dataset, "validation")
    users, items = dataset.users.rows[task.users], dataset.items.rows[task.items]
    content = dataset.content_of(task.items)

    def judge(towers: TwoTower) -> float:
        scores = retrieval.embed(towers.user, users) @ retrieval.embed(towers.item, items, content).T
        return recall(task, scores) or 0.0

    return judge


def _fit_ranker(
    dataset: Dataset,
    splits: tuple[Split, ...],
    judged_on: Split | None,
    config: RankerConfig,
    rounds: dict[str, int] | None,
    folder: Path,
    report: Report,
) -> dict[str, int]:
    """Train the three boosters on the splits, write the merged forest; returns each booster's rounds."""
    graphs = Graphs(folder)
    fit = _table(dataset, graphs, *splits)
    judge = _table(dataset, graphs, judged_on) if judged_on else None
    impressions = bool(dataset.facts["has_impressions"])
    members, taken = ranking.train(fit, judge, config, rounds, impressions, report)
    merged: lgb.Booster = merge(members, SCHEMA.ranker_names)
    merged.save_model(str(folder / FOREST))
    return taken


def _table(dataset: Dataset, graphs: Graphs, *splits: Split) -> Table:
    examples = dataset.examples(*splits)
    return Table(examples=examples, matrix=graphs.matrix(dataset, examples))


def _facts(settings: Settings, dataset: Dataset, number: int, epochs: int, rounds: dict[str, int]) -> dict[str, object]:
    return {
        "line": number,
        "source": settings.source,
        "seed": settings.seed,
        "schema_hash": SCHEMA.hash,
        "as_of": dataset.facts["as_of"],
        "boundaries": dataset.facts["boundaries"],
        "vocabulary": dataset.vocabulary_digest,
        "codes": dataset.codes,
        "epochs": epochs,
        "rounds": rounds,
        "trees": int(np.sum(list(rounds.values()))),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
