"""Judging a recipe on the test window, beside popularity and, where the truth is known, an oracle."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

import lightgbm as lgb
import numpy as np

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, Ints
from training.dataset import Dataset
from training.lines import FOREST, METRICS, RECIPE, Line, write_json
from training.matrices import Graphs
from training.metrics import auc, calibration_error, log_loss, ndcg_at_k, recall_at_k
from training.models.ranking import Table
from training.sample.truth import load as load_truth

K = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalTask:
    """Full-catalogue retrieval at the start of a window: who asks, among what, and what they then acted on."""

    user_ids: Sequence[str]
    users: Ints  # rows of user snapshots
    item_ids: Sequence[str]
    items: Ints  # rows of item snapshots
    truth: Mapping[str, Set[int]]  # user id → positions in `item_ids`


def retrieval_task(dataset: Dataset, split: Literal["validation", "test"]) -> RetrievalTask:
    """The window's distinct items by user, of those in the catalogue when it starts; features as of then."""
    start = dataset.snapshot(split)
    catalogue, known = dataset.items.latest(start), dataset.users.latest(start)
    place = {item: i for i, item in enumerate(catalogue)}
    truth: dict[str, set[int]] = defaultdict(set)
    pairs = dataset.pairs(split)
    for user, item in zip(pairs.user_ids, pairs.item_ids, strict=True):
        if user in known and item in place:
            truth[user].add(place[item])
    return RetrievalTask(
        user_ids=list(truth),
        users=np.array([known[u] for u in truth], np.int64),
        item_ids=list(catalogue),
        items=np.array(list(catalogue.values()), np.int64),
        truth=truth,
    )


def recall(task: RetrievalTask, scores: Floats, k: int = K) -> float | None:
    """Recall@k of scores [users, items]."""
    top = _top(scores, k)
    return recall_at_k(dict(zip(task.user_ids, top, strict=True)), task.truth, top.shape[1])


def coverage(scores: Floats, k: int = K) -> float | None:
    """Share of the catalogue that is in some user's top k, of scores [users, items]; None without users."""
    return len(np.unique(_top(scores, k))) / scores.shape[1] if scores.size else None


def _top(scores: Floats, k: int) -> Ints:
    k = min(k, scores.shape[1])
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def retrieval_metrics(settings: Settings, dataset: Dataset, graphs: Graphs) -> dict[str, float | int | None]:
    """Recall@100 of the towers, of popularity (events in 30 days) and of the oracle (None where unknown); coverage."""
    task = retrieval_task(dataset, "test")
    users, items = dataset.users.rows[task.users], dataset.items.rows[task.items]
    popularity = np.broadcast_to(items[:, SCHEMA.offset("item_events_30d")], (len(users), len(items)))
    scores = graphs.embed_users(users) @ graphs.embed_snapshots(dataset, task.items).T
    return {
        "recall_at_100": recall(task, scores),
        "coverage_at_100": coverage(scores),
        "popularity_recall_at_100": recall(task, popularity),
        "oracle_recall_at_100": _oracle_recall(settings, dataset, task),
        "users": len(users),
        "items": len(items),
    }


def _oracle_recall(settings: Settings, dataset: Dataset, task: RetrievalTask) -> float | None:
    if settings.source != "sample":
        return None
    truth = load_truth(settings)
    utility = truth.utility(dataset.boundary("test_start").astype("datetime64[s]").item().replace(tzinfo=UTC))
    rows = {user: i for i, user in enumerate(truth.user_ids)}
    columns = {item: i for i, item in enumerate(truth.item_ids)}
    return recall(task, utility[np.ix_([rows[u] for u in task.user_ids], [columns[i] for i in task.item_ids])])


def ranking_metrics(dataset: Dataset, graphs: Graphs, forest: lgb.Booster) -> dict[str, float | int | None]:
    """AUC and log loss of CTR, NDCG@10 of relevance and of popularity, on the test lists as serving sees them."""
    examples = dataset.examples("test")
    matrix = Table(examples=examples, matrix=graphs.matrix(dataset, examples)).unpositioned()
    relevance, ctr, cvr = forest.predict(matrix).T
    popular = "item_clicks_30d" if dataset.facts["has_impressions"] else "item_events_30d"
    clicked = examples.clicked > 0
    enough = _Enough(int(dataset.facts["minimum_positives"]))
    return {
        "auc": enough(examples.clicked, lambda: auc(examples.clicked, ctr)),
        # the probabilities are of impressions; sampled lists have another rate, and a loss over them says nothing
        "log_loss": log_loss(examples.clicked, ctr) if dataset.facts["has_impressions"] else None,
        "calibration_error": calibration_error(examples.clicked, ctr) if dataset.facts["has_impressions"] else None,
        "cvr_auc": enough(examples.purchased[clicked], lambda: auc(examples.purchased[clicked], cvr[clicked])),
        "ndcg_at_10": enough(examples.grade, lambda: ndcg_at_k(examples.request, examples.grade, relevance)),
        "popularity_ndcg_at_10": enough(
            examples.grade,
            lambda: ndcg_at_k(examples.request, examples.grade, matrix[:, SCHEMA.ranker_names.index(popular)]),
        ),
        "lists": int(examples.request.max(initial=-1)) + 1,
        "impressions": len(examples),
    }


@dataclass(frozen=True, slots=True)
class _Enough:
    """Reports a metric only where there are at least this many positives to judge by."""

    minimum: int

    def __call__(self, labels: Ints, metric: Callable[[], float | None]) -> float | None:
        return metric() if int((labels > 0).sum()) >= self.minimum else None


def judge(settings: Settings, recipe: Path) -> dict[str, Any]:
    """What a recipe reaches on the test window of the features as they are, which it has not seen."""
    dataset, graphs = Dataset(settings.features), Graphs(recipe)
    forest = lgb.Booster(model_file=str(recipe / FOREST))
    return {
        "retrieval": retrieval_metrics(settings, dataset, graphs),
        "ranking": ranking_metrics(dataset, graphs, forest),
    }


def evaluate(settings: Settings, line: Line) -> dict[str, Any]:
    """Judge the line's recipe and store `metrics.json`."""
    metrics = {"line": line.number, **judge(settings, line.folder / RECIPE)}
    write_json(line.folder / METRICS, metrics)
    return metrics
