"""A ranker of a chosen size that ranks like the trained one: each objective distilled into so many full trees.

Boosted regression on the trained forest's own raw scores, one leaf a single row if need be, so that every tree has all
its leaves: cost is set exactly, and the answers still make sense.
"""

from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np

from feature_repo.schema import SCHEMA
from perf.errors import PerfError
from training.dataset import Dataset
from training.lines import FOREST, Line
from training.matrices import Graphs
from training.models.forest import Member, merge

ROWS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Trees of each objective, and leaves of each tree."""

    rounds: int
    leaves: int

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.leaves < 2:
            raise ValueError(f"trees need at least 1 round and 2 leaves, got {self.rounds} x {self.leaves}")

    @classmethod
    def parse(cls, text: str) -> "Trees":
        """`100x64` → 100 trees of 64 leaves for each objective. Raises PerfError."""
        rounds, _, leaves = text.partition("x")
        if not (rounds.isdigit() and leaves.isdigit() and int(rounds) >= 1 and int(leaves) >= 2):
            raise PerfError(f"--trees is {text!r}, expected <rounds>x<leaves> such as 100x64")
        return cls(rounds=int(rounds), leaves=int(leaves))


def write_resized(line: Line, dataset: Dataset, trees: Trees, path: Path) -> None:
    """Write the forest of `line` in another size."""
    forest = lgb.Booster(model_file=str(line.folder / FOREST))
    examples = dataset.examples("test")
    matrix = Graphs(line.folder).matrix(dataset, examples)[:ROWS]
    raw = forest.predict(matrix, raw_score=True)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=raw.shape)  # a constant objective has trees as well
    members = [Member(booster=_distilled(matrix, raw[:, c] + noise[:, c], trees)) for c in range(raw.shape[1])]
    merged = merge(members, SCHEMA.ranker_names)
    _require_full(merged, trees)
    merged.save_model(str(path))


def _distilled(matrix: np.ndarray, labels: np.ndarray, trees: Trees) -> lgb.Booster:
    parameters = {
        "objective": "regression", "boost_from_average": False, "num_leaves": trees.leaves, "learning_rate": 0.1,
        "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0, "feature_fraction": 0.7, "seed": 1,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    data = lgb.Dataset(matrix, labels, feature_name=list(SCHEMA.ranker_names))
    return lgb.train(parameters, data, trees.rounds)


def _require_full(forest: lgb.Booster, trees: Trees) -> None:
    leaves = [tree["num_leaves"] for tree in forest.dump_model()["tree_info"]]
    if set(leaves) != {trees.leaves}:
        raise PerfError(f"trees of {min(leaves)} to {max(leaves)} leaves came out, not {trees.leaves}; ask for fewer")
