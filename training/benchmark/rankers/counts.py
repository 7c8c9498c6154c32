"""Rankers that count: popularity and item-kNN."""

import numpy as np
import scipy.sparse as sp

from feature_repo.vectors import Floats, Ints
from training.benchmark.protocol import Parameters
from training.benchmark.ranking import Inputs, Log, Scorer


def popularity(inputs: Inputs) -> Scorer:
    """Users of the item."""
    counts = inputs.log.popularity
    return lambda users: np.broadcast_to(counts, (len(users), len(counts)))


def item_knn(inputs: Inputs) -> Scorer:
    """Cosine of items over users, shrunk; an item of the history weighs `decay`^age, age in items.

    Score = Σ over the history of weight · similarity, similarity = n_ij / (n_i^a · n_j^b + shrink), of each item the
    `neighbours` largest.
    """
    similarity = neighbours(inputs.log.matrix, inputs.parameters)
    history = aged(inputs.log, float(inputs.parameters["decay"]))
    return lambda users: np.asarray((history[users] @ similarity).toarray(), np.float32)


def neighbours(matrix: sp.csr_matrix, parameters: Parameters) -> sp.csr_matrix:
    """Similarities [items, items], row: item of the history, column: scored item."""
    row_power, column_power = float(parameters["row_power"]), float(parameters["column_power"])
    together = (matrix.T @ matrix).tocoo()
    counts = np.asarray(matrix.sum(0)).ravel()
    off = together.row != together.col
    row, column, value = together.row[off], together.col[off], together.data[off]
    norm = counts[row] ** row_power * counts[column] ** column_power + float(parameters["shrink"])
    similar = sp.csr_matrix((value / norm, (row, column)), shape=together.shape, dtype=np.float32)
    return _strongest(similar, int(parameters["neighbours"]))


def aged(log: Log, decay: float) -> sp.csr_matrix:
    """[users, items]: decay^age of each user's items; the newest weighs 1."""
    age = np.repeat(log.bounds[1:], np.diff(log.bounds)) - 1 - np.arange(len(log.items))
    weights = np.power(np.float32(decay), age).astype(np.float32)
    return sp.csr_matrix((weights, (log.user_of, log.items)), shape=(log.users, log.width))


def _strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest of every row."""
    matrix = matrix.tocsr()
    order = np.lexsort((-matrix.data, np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))))
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
    kept = order[place < k]
    rows: Ints = np.repeat(np.arange(matrix.shape[0]), np.minimum(np.diff(matrix.indptr), k))
    values: Floats = matrix.data[kept]
    return sp.csr_matrix((values, (rows, matrix.indices[kept])), shape=matrix.shape)
