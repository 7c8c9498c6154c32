"""Linear item-to-item rankers in closed form."""

import numpy as np
import numpy.typing as npt
import scipy.linalg as la

from feature_repo.vectors import Floats
from training.benchmark.ranking import Inputs, Scorer


def ease(inputs: Inputs) -> Scorer:
    """EASE^R (Steck, WWW 2019) with the dropout regularisation of EDLAE (Steck, NeurIPS 2020) where `dropout` > 0."""
    weights = ease_weights(
        np.asarray((inputs.log.matrix.T @ inputs.log.matrix).todense(), np.float64),
        float(inputs.parameters["l2"]),
        float(inputs.parameters.get("dropout", 0.0)),
    )
    matrix = inputs.log.matrix
    return lambda users: np.asarray(matrix[users] @ weights, np.float32)


def ease_weights(gram: npt.NDArray[np.float64], l2: float, dropout: float = 0.0) -> Floats:
    """B [items, items] with a zero diagonal that minimises |X − XB|² + |ΛB|², Λ² = l2 + dropout/(1 − dropout)·diag(G).

    `gram` is G = XᵀX and is overwritten.
    """
    diagonal = np.diag_indices_from(gram)
    gram[diagonal] += l2 + dropout / (1.0 - dropout) * gram[diagonal]
    factor, failed = la.lapack.dpotrf(gram, lower=1, overwrite_a=1)
    inverse, failed = la.lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(f"G + Λ² is not positive definite; raise l2 from {l2:g}")
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights: Floats = (-inverse / np.diag(inverse)).astype(np.float32)
    weights[diagonal] = 0.0
    return weights
