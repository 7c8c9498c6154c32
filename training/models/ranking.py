"""Training the ranker: lambdarank for relevance, CTR and CVR as probabilities, merged into one forest."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats
from training.dataset import Examples
from training.models.forest import OBJECTIVES, Member

SHARED = ("num_leaves", "learning_rate", "min_data_in_leaf", "feature_fraction")
RAW_LIMIT = 5.9  # |raw| of lambdarank after scaling: FP32 sigmoid loses order beyond about 6 (architecture §6)
POSITION = SCHEMA.ranker_names.index("context_position")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig:
    """Hyperparameters; `rounds` is the most, early stopping may take fewer."""

    rounds: int = 100
    patience: int = 15
    num_leaves: int = 31
    learning_rate: float = 0.1
    feature_fraction: float = 0.7
    bagging_fraction: float = 0.6  # of the rows, for the two probabilities
    min_data_in_leaf: int = 50
    min_positives: int = 50
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Examples and their ranker matrix [n, RANKER_WIDTH], `context_position` filled in."""

    examples: Examples
    matrix: Floats

    def unpositioned(self) -> Floats:
        """The matrix as serving sees it: position 0."""
        matrix = self.matrix.copy()
        matrix[:, POSITION] = 0.0
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What one booster learns: its rows, labels, LightGBM parameters, and whether it may see the position."""

    name: str
    rows: np.ndarray
    labels: np.ndarray
    parameters: dict[str, object]
    positioned: bool = False


def objectives(examples: Examples) -> list[Objective]:
    """The three objectives over one set of examples, in `OBJECTIVES` order."""
    every, clicked = np.arange(len(examples)), np.flatnonzero(examples.clicked > 0)
    lists: dict[str, object] = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "label_gain": [0, 1, 3, 7],
    }
    binary: dict[str, object] = {"objective": "binary", "metric": "binary_logloss"}
    return [
        Objective(name="relevance", rows=every, labels=examples.grade, parameters=lists),
        Objective(name="ctr", rows=every, labels=examples.clicked, parameters=binary, positioned=True),
        Objective(name="cvr", rows=clicked, labels=examples.purchased[clicked], parameters=binary),
    ]


def train(
    fit: Table,
    judge: Table | None,
    config: RankerConfig,
    rounds: dict[str, int] | None,
    has_impressions: bool,
    report: Callable[[str, int, int], None],
) -> tuple[list[Member], dict[str, int]]:
    """One member of the forest for each objective, and the rounds each took (0: constant, nothing to learn).

    With `judge` each booster stops early on it; without, `rounds` says how many to take (the refit).
    """
    judged = objectives(judge.examples) if judge else [None] * len(OBJECTIVES)
    members, taken = [], {}
    for objective, against in zip(objectives(fit.examples), judged, strict=True):
        if not _learnable(objective, config) or (rounds is not None and rounds[objective.name] == 0):
            members.append(Member(booster=None, bias=_base_rate(objective)))
            taken[objective.name] = 0
            continue
        limit = rounds[objective.name] if rounds is not None else config.rounds
        booster = _booster(objective, fit, against, judge, config, limit, has_impressions, report)
        taken[objective.name] = booster.best_iteration or booster.num_trees()
        members.append(_member(objective, booster, fit))
    return members, taken


def _booster(
    objective: Objective,
    fit: Table,
    against: Objective | None,
    judge: Table | None,
    config: RankerConfig,
    limit: int,
    has_impressions: bool,
    report: Callable[[str, int, int], None],
) -> lgb.Booster:
    parameters = {
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": config.seed,
        **{name: getattr(config, name) for name in SHARED},
        **objective.parameters,
    }
    if objective.name != "relevance":  # lists stay whole
        parameters |= {"bagging_fraction": config.bagging_fraction, "bagging_freq": 1}
    data = _dataset(objective, fit, has_impressions)
    callbacks: list[Callable[..., None]] = [lambda env: report(objective.name, env.iteration + 1, limit)]
    valid = []
    if against is not None and judge is not None and len(np.unique(against.labels)) > 1:
        valid = [_dataset(against, judge, False, data)]
        callbacks.append(lgb.early_stopping(config.patience, verbose=False))
    return lgb.train(parameters, data, limit, valid_sets=valid, callbacks=callbacks)


def _dataset(objective: Objective, table: Table, positions: bool, reference: lgb.Dataset | None = None) -> lgb.Dataset:
    matrix = table.matrix if objective.positioned else table.unpositioned()
    ranked = objective.name == "relevance"
    return lgb.Dataset(
        matrix[objective.rows],
        objective.labels,
        feature_name=list(SCHEMA.ranker_names),
        reference=reference,
        group=table.examples.group_sizes if ranked else None,
        position=table.examples.position if ranked and positions else None,
        free_raw_data=True,
    )


def _learnable(objective: Objective, config: RankerConfig) -> bool:
    positives = int((objective.labels > 0).sum())
    return min(positives, len(objective.labels) - positives) >= config.min_positives


def _base_rate(objective: Objective) -> float:
    """log-odds of a positive, for an objective with too little to learn from."""
    rate = (float((objective.labels > 0).sum()) + 1.0) / (len(objective.labels) + 20.0)
    return 0.0 if objective.name == "relevance" else math.log(rate / (1.0 - rate))


def _member(objective: Objective, booster: lgb.Booster, fit: Table) -> Member:
    if objective.name == "relevance":
        raw = np.abs(booster.predict(fit.unpositioned(), raw_score=True))
        return Member(booster=booster, scale=min(1.0, RAW_LIMIT / max(float(raw.max()), 1e-9)))
    if objective.name == "ctr":  # negatives sampled at rate r: true odds = r × odds
        return Member(booster=booster, bias=float(np.mean(np.log(fit.examples.sampling_rate))))
    return Member(booster=booster)
