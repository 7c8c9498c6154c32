"""Exact nearest neighbours of a few queries over any number of vectors: what recall is counted against."""

import faiss
import numpy as np
import numpy.typing as npt

from feature_repo.vectors import Floats, Ints


class ExactSearch:
    """The `depth` best of all rows given to `add`, for each of the queries [q, d], by inner product."""

    def __init__(self, queries: Floats, depth: int) -> None:
        self.queries, self.depth = queries, depth
        self.rows: Ints = np.full((len(queries), 0), -1, np.int64)
        self.scores: Floats = np.zeros((len(queries), 0), np.float32)
        self.vectors: Floats = np.zeros((len(queries), 0, queries.shape[1]), np.float32)

    def add(self, vectors: Floats, first: int, allowed: npt.NDArray[np.bool_] | None = None) -> None:
        """Look at vectors [n, d] whose first row is `first`; only those `allowed` [n] count."""
        members = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
        if not len(members):
            return
        chosen = vectors if allowed is None else vectors[members]
        scores, found = faiss.knn(
            self.queries, chosen, min(self.depth, len(members)), metric=faiss.METRIC_INNER_PRODUCT
        )
        scores, rows = np.concatenate([self.scores, scores], 1), np.concatenate([self.rows, members[found] + first], 1)
        near = np.concatenate([self.vectors, chosen[found]], 1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.depth]
        self.scores, self.rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        self.vectors = np.take_along_axis(near, best[:, :, None], 1)

    def top(self, k: int) -> Ints:
        """Rows of the k best [q, k], or of all there are."""
        return self.rows[:, :k]


def recall(found: Ints, exact: Ints) -> float:
    """Share of the exact neighbours [q, k] that are among those found [q, any]."""
    hits = [len(np.intersect1d(f, e)) for f, e in zip(found, exact, strict=True)]
    return float(np.sum(hits) / exact.size)
