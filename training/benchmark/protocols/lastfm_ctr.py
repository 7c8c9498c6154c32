"""Last.FM, click-through rate in KGCN's split (Wang et al., WWW 2019): is this artist one that the user listens to?

As many negatives as positives, drawn uniformly from what a user has not listened to; 6:2:2 into train, validation and
test. Features are of the train positives and of the knowledge graph alone: `user_artists.dat`, from which the labels
were made, is not read. A training pair's features are by a log without its fold, as a test pair is in no log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from feature_repo.vectors import Floats, Ints
from training.adapters.read import read_csv, require, seconds
from training.benchmark.protocol import Answer, Figures, Given, Judge, Model, Objective, Parameters, Protocol
from training.benchmark.trees.affinity import COUNTED, FEATURES, features, held_out
from training.benchmark.trees.boost import DEFAULTS, SPACE, Rows, fit
from training.errors import DataError
from training.metrics import auc, log_loss

COLUMNS = ("user", "item", "label", "split")
FOLDS = 8


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Users and items of pairs, row by row."""

    user: Ints
    item: Ints


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Pairs with labels to learn from and to tune on, pairs to answer, and the tags [items, tags] of the items."""

    train: Pairs
    labels: Ints
    validation: Pairs
    truth: Ints
    asked: Pairs
    tags: sp.csr_matrix
    users: int

    @property
    def log(self) -> sp.csr_matrix:
        """The positives to learn from: [users, items]."""
        user, item = self.train.user[self.labels > 0], self.train.item[self.labels > 0]
        return sp.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(self.users, self.tags.shape[0]))


def load(folder: Path) -> tuple[Clicks, Judge]:
    """The problem, and the judge with the test labels. Raises DataError."""
    path = require(folder, "lastfm_ctr_split.csv.gz")
    rows = read_csv(path, COLUMNS)
    frame = pd.DataFrame({name: seconds(path, name, rows[name]) for name in COLUMNS[:3]})
    parts = {name: frame[(rows["split"].to_pandas() == name).to_numpy()] for name in ("train", "eval", "test")}
    if empty := [name for name, part in parts.items() if part.empty]:
        raise DataError(f"{path}: column split: no row of {len(frame)} is {empty[0]}; it takes train, eval and test")
    train, validation, test = (Pairs(user=part.user.to_numpy(), item=part.item.to_numpy()) for part in parts.values())
    labels, truth, hidden = (part.label.to_numpy() for part in parts.values())
    tags = _tags(require(folder, "kg.txt.gz"), int(frame.item.max()) + 1)
    return Clicks(
        train=train, labels=labels, validation=validation, truth=truth, asked=test, tags=tags,
        users=int(frame.user.max()) + 1,
    ), partial(_judged, hidden)  # fmt: skip


def _tags(path: Path, items: int) -> sp.csr_matrix:
    """`relation:tail` of the triples whose head is an item: [items, tags]."""
    graph = read_csv(path, None, delimiter="\t", names=("head", "relation", "tail"))
    head = seconds(path, "head", graph["head"])
    known = head < items
    names = (graph["relation"].to_pandas() + ":" + graph["tail"].to_pandas())[known]
    codes, kinds = pd.factorize(names, sort=True)
    tags = sp.csr_matrix((np.ones(len(codes), np.float32), (head[known], codes)), shape=(items, len(kinds)))
    tags.data[:] = 1.0
    return tags


def _judged(labels: Ints, answer: Answer) -> Figures:
    """AUC and log loss of probabilities [pairs]."""
    found = auc(labels, answer.scores)
    return {"log_loss": log_loss(labels, answer.scores)} | ({} if found is None else {"auc": found})


def _features(given: Given[Clicks], name: str) -> Floats:
    """Of `train`, `validation` or `asked`: made once a run."""
    key = ("features", name)
    if key not in given.memo:
        clicks = given.problem
        pairs: Pairs = getattr(clicks, name)
        made = partial(held_out, folds=FOLDS) if name == "train" else features
        given.memo[key] = made(clicks.log, clicks.tags, pairs.user, pairs.item)
    found: Floats = given.memo[key]
    return found


def predict(given: Given[Clicks], known: Sequence[str], parameters: Parameters, name: str) -> Floats:
    """Probabilities of `validation` or `asked` by a forest that knows these features."""
    columns = [FEATURES.index(one) for one in known]
    rows = Rows(matrix=_features(given, "train")[:, columns], labels=given.problem.labels)
    booster = fit(rows, parameters, given.seed)
    return np.asarray(booster.predict(_features(given, name)[:, columns]), np.float64)


def _forest(name: str, known: Sequence[str], ours: bool = True) -> Model[Clicks]:
    def answer(given: Given[Clicks]) -> Answer:
        return Answer(predict(given, known, given.parameters[name], "asked"))

    def objective(given: Given[Clicks]) -> Objective:
        truth = given.problem.truth
        return lambda parameters: -log_loss(truth, predict(given, known, parameters, "validation"))

    return Model(answer=answer, objective=objective, space=SPACE, defaults=DEFAULTS, seeded=True, ours=ours)


def _popularity(given: Given[Clicks]) -> Answer:
    """Positives of the item beside the negatives that an even draw gives each item."""
    log = given.problem.log
    count = np.asarray(log.sum(0), np.float64).ravel()[given.problem.asked.item] + 0.5
    return Answer(count / (count + log.nnz / log.shape[1]))


PROTOCOL = Protocol(
    name="lastfm-ctr",
    title="Last.FM, click-through rate in KGCN's split",
    folder="lastfm_ctr_kgcn",
    metric="auc",
    load=load,
    models={
        "popularity": Model(answer=_popularity, ours=False),
        "four-features": _forest("four-features", COUNTED),
        "ranker": _forest("ranker", FEATURES),
    },
    published={"KGCN": {"auc": 0.796}, "MKR": {"auc": 0.797}},
    reference={"popularity": {"auc": 0.794}, "LightGBM, four features": {"auc": 0.8677, "log_loss": 0.4364}},
)
