"""Metric definitions, each stated once and tested against known answers."""

from collections.abc import Mapping, Set

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from feature_repo.vectors import Floats

Ints = npt.NDArray[np.int64]


def auc(labels: Ints, scores: Floats) -> float | None:
    """Area under the ROC curve; None when only one class is present."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Mean negative log likelihood, natural logarithm."""
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels > 0, np.log(p), np.log1p(-p))))


def calibration_error(labels: Ints, probabilities: Floats, bins: int = 15) -> float:
    """Expected calibration error, Σ share · |rate − mean| over bins of equally many rows (Naeini et al., AAAI 2015)."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(float((labels[part] > 0).mean()) - float(probabilities[part].mean())) for part in parts]
    return sum(gaps) / max(len(labels), 1)


def ndcg_at_k(groups: Ints, grades: Ints, scores: Floats, k: int = 10) -> float | None:
    """Mean NDCG@k over lists with a positive grade; gain 2^grade − 1, discount log2(rank + 1).

    Järvelin & Kekäläinen 2002, in Burges' exponential-gain form. Equal scores keep the rows' order, non-finite scores
    rank last. None when no list has a positive grade.
    """
    finite = np.where(np.isfinite(scores), scores, -np.inf)
    dcg, ideal = _dcg(groups, grades, -finite, k), _dcg(groups, grades, -grades.astype(np.float64), k)
    judged = ideal > 0
    return float(np.mean(dcg[judged] / ideal[judged])) if judged.any() else None


def _dcg(groups: Ints, grades: Ints, order_by: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.float64]:
    """DCG@k of every list, lists in the order of their number; groups must be 0…m−1, rows of a list adjoining."""
    order = np.lexsort((np.arange(len(groups)), order_by, groups))
    ranked_groups, gains = groups[order], 2.0 ** grades[order] - 1.0
    starts = np.flatnonzero(np.diff(ranked_groups, prepend=-1))
    ranks = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    discounted = np.where(ranks < k, gains / np.log2(ranks + 2), 0.0)
    return np.asarray(np.bincount(ranked_groups, discounted, minlength=int(groups.max(initial=-1)) + 1), np.float64)


def recall_at_k(ranked: Mapping[str, Ints], truth: Mapping[str, Set[int]], k: int) -> float | None:
    """Mean over users of |top k ∩ truth| / min(k, |truth|); None without users."""
    values = [len(truth[user] & set(ranked[user][:k].tolist())) / min(k, len(truth[user])) for user in truth]
    return float(np.mean(values)) if values else None
