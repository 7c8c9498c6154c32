"""The recipe: towers, matrices, forest on the training window; then the same again through T, which is what serves."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import lightgbm as lgb
import numpy as np
from safetensors.torch import save_model

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from training.dataset import Dataset, Split
from training.drift.reference import store_reference
from training.evaluate import evaluate, recall, retrieval_task
from training.lines import ASSEMBLE, FACTS, FOREST, WEIGHTS, Line, new_line, write_json
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
    dataset = Dataset(settings.features)
    dataset.require(*EVERY_SPLIT)
    towers = TowerConfig(seed=settings.seed)
    ranker = RankerConfig(seed=settings.seed, min_positives=int(dataset.facts["minimum_positives"]))
    with new_line(settings.lines) as line:
        recipe = line.folder / "recipe"
        recipe.mkdir()
        export_assembler(recipe)
        shutil.copyfile(recipe / ASSEMBLE, line.folder / ASSEMBLE)
        epochs = _fit_towers(dataset, ("train",), towers, True, recipe, report)
        rounds = _fit_ranker(dataset, ("train",), "validation", ranker, None, recipe, report)
        evaluate(settings, line)
        _fit_towers(dataset, EVERY_SPLIT, replace(towers, epochs=epochs), False, line.folder, report)
        _fit_ranker(dataset, EVERY_SPLIT, None, ranker, rounds, line.folder, report)
        store_reference(dataset, line.folder, settings.seed)
        write_json(line.folder / FACTS, _facts(settings, dataset, line.number, epochs, rounds))
    return Line(line.number, settings.lines / str(line.number))


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
        "epochs": epochs,
        "rounds": rounds,
        "trees": int(np.sum(list(rounds.values()))),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
