"""Boosting rows of features: as probabilities, or as lists to rank."""

from dataclasses import dataclass

import lightgbm as lgb

from feature_repo.vectors import Floats, Ints
from training.benchmark.protocol import Parameters

DEFAULTS: dict[str, float | int | str] = {
    "rounds": 300,
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
}

SPACE = {
    "rounds": (100, 200, 300, 500),
    "num_leaves": (7, 15, 31),
    "min_data_in_leaf": (20, 50, 200),
    "feature_fraction": (0.4, 0.7, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Features [n, width], labels 0 or 1 [n]; `sizes` of lists of adjoining rows where the rows are lists."""

    matrix: Floats
    labels: Ints
    sizes: Ints | None = None


def fit(rows: Rows, parameters: Parameters, seed: int) -> lgb.Booster:
    """The booster: lambdarank where the rows are lists, else log loss."""
    objective: dict[str, object] = {"objective": "binary", "bagging_fraction": 0.8, "bagging_freq": 1}
    if rows.sizes is not None:
        objective = {"objective": "lambdarank", "lambdarank_truncation_level": 20}
    chosen = {name: parameters[name] for name in DEFAULTS if name != "rounds"}
    fixed = {"verbosity": -1, "seed": seed, "deterministic": True, "force_row_wise": True}
    data = lgb.Dataset(rows.matrix, rows.labels, group=rows.sizes)
    return lgb.train({**objective, **chosen, **fixed}, data, int(parameters["rounds"]))
