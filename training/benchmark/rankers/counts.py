"""Rankers that count: popularity, item-kNN and user-kNN."""

import numpy as np
import scipy.sparse as sp

from feature_repo.vectors import Floats
from training.benchmark.protocol import Parameters
from training.benchmark.ranking import Inputs, Log, Scorer

STEPS = 50  # between two actions that are still counted as near each other


def popularity(inputs: Inputs) -> Scorer:
    """Users of the item."""
    counts = inputs.log.popularity
    return lambda users: np.broadcast_to(counts, (len(users), len(counts)))


def item_knn(inputs: Inputs) -> Scorer:
    """Items that users act on near each other; what the user did last weighs most.

    Score of j = Σ over his items i of `decay`^age · n_ij / (n_i^row_power · n_j^column_power + shrink); n_ij sums
    `closeness`^(steps between − 1) over the users who acted on i and then j, times `backward` where j came first.
    """
    similarity, history = neighbours(inputs.log, inputs.parameters), aged(inputs.log, float(inputs.parameters["decay"]))
    return lambda users: np.asarray((history[users] @ similarity).toarray(), np.float32)


def user_knn(inputs: Inputs) -> Scorer:
    """Items of the users who are most alike: cosine over items that weigh 1 / users^`rarity`, squared."""
    matrix, said = inputs.log.matrix, inputs.parameters
    alike = likeness(matrix, float(said["rarity"]), int(said["neighbours"]))
    return lambda users: np.asarray(alike[users] @ matrix, np.float32)


def likeness(matrix: sp.csr_matrix, rarity: float, neighbours: int) -> Floats:
    """[users, users]: squared cosines of the most alike, 0 for all others and for oneself."""
    counts = np.maximum(np.asarray(matrix.sum(0)).ravel(), 1.0)
    weighed = matrix @ sp.diags(counts ** (-rarity / 2))
    length = np.sqrt(np.maximum(np.asarray(weighed.multiply(weighed).sum(1)).ravel(), 1e-9))
    cosine = (weighed @ weighed.T).toarray() / length[:, None] / length
    np.fill_diagonal(cosine, 0.0)
    k = min(neighbours, len(cosine))
    least = -np.partition(-cosine, k - 1, axis=1)[:, k - 1 : k]
    return np.where(cosine >= least, cosine**2, 0.0).astype(np.float32)


def neighbours(log: Log, parameters: Parameters) -> sp.csr_matrix:
    """Similarities [items, items], row: item of the history, column: scored item; the diagonal is empty."""
    ahead = following(log, float(parameters["closeness"]))
    together = (ahead + float(parameters["backward"]) * ahead.T).tocoo()
    apart = together.row != together.col
    row, column, value = together.row[apart], together.col[apart], together.data[apart]
    counts = np.maximum(log.popularity, 1.0)
    norm = counts[row] ** float(parameters["row_power"]) * counts[column] ** float(parameters["column_power"])
    return sp.csr_matrix((value / (norm + float(parameters["shrink"])), (row, column)), together.shape, np.float32)


def following(log: Log, closeness: float) -> sp.csr_matrix:
    """Σ closeness^(steps − 1) over the users who acted on the row's item and, so many steps later, on the column's."""
    last = np.repeat(log.bounds[1:], np.diff(log.bounds))
    places, total = np.arange(len(log.items)), sp.csr_matrix((log.width, log.width), dtype=np.float32)
    for steps in range(1, STEPS):
        begin = places[places + steps < last]
        weights = np.full(len(begin), closeness ** (steps - 1), np.float32)
        total += sp.csr_matrix((weights, (log.items[begin], log.items[begin + steps])), total.shape)
    return total


def aged(log: Log, decay: float) -> sp.csr_matrix:
    """[users, items]: decay^age of each user's items; the newest weighs 1."""
    age = np.repeat(log.bounds[1:], np.diff(log.bounds)) - 1 - np.arange(len(log.items))
    weights = np.power(np.float32(decay), age).astype(np.float32)
    return sp.csr_matrix((weights, (log.user_of, log.items)), shape=(log.users, log.width))
