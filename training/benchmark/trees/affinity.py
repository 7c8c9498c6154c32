"""What a table of who had what says of pairs (user, item): counts, neighbours, spectrum, ridge, shared tags.

Everything is a function of the positives of `log`. A pair that is itself in the log must be taken out beforehand, or
its features tell its label: `held_out` does so for training rows, a fold at a time.
"""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from feature_repo.vectors import Floats, Ints

RANKS = (16, 64)
RIDGE = 30.0
COUNTED = ("item_users", "user_items", "item_cosine", "user_cosine")  # what the reference knows
FEATURES = (
    *COUNTED, "item_nearest", "item_given", "item_rare", "user_nearest", "user_rare", "ridge",
    *(f"spectrum_{rank}" for rank in RANKS), "tags", "tags_nearest", "tagged_users",
)  # fmt: skip


def features(log: sp.csr_matrix, tags: sp.csr_matrix, users: Ints, items: Ints) -> Floats:
    """[pairs, FEATURES] by a log [users, items] of ones and the tags [items, tags] of the items."""
    by_item, by_user = _sums(log, 0), _sums(log, 1)
    had, had_by = log[users], log.T.tocsr()[items]
    cosine, given = _cosine(log), _together(log) @ _scale(by_item, 1.0)
    alike = _cosine(log.T.tocsr())
    shared = _tagged(tags)
    found = {
        "item_users": by_item[items],
        "user_items": by_user[users],
        "item_given": _over(given[items], had)[0],
        "item_rare": _over(_cosine(_rare(log))[items], had)[0],
        "user_rare": _over(_cosine(_rare(log.T.tocsr()))[users], had_by)[0],
        "ridge": _ridge(log)[users, items],
        "tagged_users": (shared @ by_item)[items],
        **{f"spectrum_{rank}": one[users, items] for rank, one in _spectrum(log).items()},
    }
    found["item_cosine"], found["item_nearest"] = _over(cosine[items], had)
    found["user_cosine"], found["user_nearest"] = _over(alike[users], had_by)
    found["tags"], found["tags_nearest"] = _over(shared[items], had)
    return np.stack([np.asarray(found[name], np.float32) for name in FEATURES], axis=1)


def held_out(log: sp.csr_matrix, tags: sp.csr_matrix, users: Ints, items: Ints, folds: int) -> Floats:
    """`features` of training pairs, those of each fold by a log without the fold's pairs."""
    fold = np.random.default_rng(0).integers(0, folds, len(users))
    result = np.empty((len(users), len(FEATURES)), np.float32)
    for one in range(folds):
        rows = np.flatnonzero(fold == one)
        result[rows] = features(without(log, users[rows], items[rows]), tags, users[rows], items[rows])
    return result


def without(log: sp.csr_matrix, users: Ints, items: Ints) -> sp.csr_matrix:
    """The log less these pairs."""
    gone = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=log.shape)
    left = (log - log.multiply(gone)).tocsr()
    left.eliminate_zeros()
    return left


def _sums(matrix: sp.csr_matrix, axis: int) -> Floats:
    return np.asarray(matrix.sum(axis), np.float32).ravel()


def _scale(values: Floats, power: float) -> sp.dia_matrix:
    return sp.diags(np.maximum(values, 1e-9) ** -power * (values > 0))


def _together(log: sp.csr_matrix) -> sp.csr_matrix:
    """Users in common of every two items, none of an item with itself: [items, items]."""
    counts = (log.T @ log).tocsr()
    counts.setdiag(0)
    counts.eliminate_zeros()
    return counts


def _cosine(log: sp.csr_matrix) -> sp.csr_matrix:
    """Cosine of every two columns: [columns, columns]."""
    norm = _scale(_sums(log.multiply(log).tocsr(), 0), 0.5)
    return (norm @ _together(log) @ norm).tocsr()


def _rare(log: sp.csr_matrix) -> sp.csr_matrix:
    """Rows weighed by how few columns they have, like a document's rare words."""
    sums = _sums(log, 1)
    weights = np.log1p(log.shape[1] / np.maximum(sums, 1)) / np.sqrt(np.maximum(sums, 1))
    return (sp.diags(weights.astype(np.float32)) @ log).tocsr()


def _over(similar: sp.csr_matrix, had: sp.csr_matrix) -> tuple[Floats, Floats]:
    """Sum and maximum of each row's similarities over what its row of `had` holds."""
    both = similar.multiply(had).tocsr()
    return _sums(both, 1), np.asarray(both.max(axis=1).todense(), np.float32).ravel()


def _tagged(tags: sp.csr_matrix) -> sp.csr_matrix:
    """Cosine of items by tags, a tag weighing log(items / its items)."""
    weights = np.log(tags.shape[0] / np.maximum(_sums(tags, 0), 1)).astype(np.float32)
    return _cosine((sp.diags(weights) @ tags.T).tocsr())


def _ridge(log: sp.csr_matrix) -> Floats:
    """EASE^R's scores [users, items] (Steck, WWW 2019) by the Gram matrix of the users, which are fewer.

    With P = (XᵀX + λI)⁻¹, XP = (XXᵀ + λI)⁻¹X =: Y and diag(P) = (1 − Σ_u X∘Y)/λ; XB = X − Y/diag(P).
    """
    gram = (log @ log.T).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE
    solved = la.solve(gram, log.toarray().astype(np.float64), assume_a="pos", overwrite_a=True, overwrite_b=True)
    diagonal = (1.0 - _sums(log.multiply(solved).tocsr(), 0)) / RIDGE
    return np.asarray(log.toarray() - solved / diagonal, np.float32)


def _spectrum(log: sp.csr_matrix) -> dict[int, Floats]:
    """The log, both sides normalised, in its first singular directions: [users, items] for each rank."""
    normal = (_scale(_sums(log, 1), 0.5) @ log @ _scale(_sums(log, 0), 0.5)).astype(np.float32)
    users = log.shape[0]
    most = min(max(RANKS), users)
    _, vectors = la.eigh((normal @ normal.T).toarray(), subset_by_index=(users - most, users - 1))
    vectors = vectors[:, ::-1]
    return {rank: vectors[:, :rank] @ (normal.T @ vectors[:, :rank]).T for rank in RANKS}
