"""Linear rankers: EASE in closed form, SLIM and iALS by turns of closed forms."""

import numpy as np
import numpy.typing as npt
import scipy.linalg as la
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from feature_repo.vectors import Floats
from training.benchmark.ranking import Inputs, Scorer

SWEEPS = 8  # of iALS
STEPS = 50  # of SLIM
Matrix = npt.NDArray[np.float64]


def ease(inputs: Inputs) -> Scorer:
    """EASE^R (Steck, WWW 2019) with the dropout regularisation of EDLAE (Steck, NeurIPS 2020) where `dropout` > 0.

    An item feature counts as `features` users who acted on all the items that have it, a user feature as an item of
    all who have it, `people` times.
    """
    matrix, said, features = inputs.log.matrix, inputs.parameters, inputs.problem.item_features
    items, people = matrix.shape[1], inputs.problem.user_features
    known = matrix if people is None else sp.hstack([matrix, float(said["people"]) * people], "csr")
    gram = np.asarray((known.T @ known).todense(), np.float64)
    gram[:items, :items] += float(said["features"]) * (features @ features.T).toarray()
    weights = ease_weights(gram, float(said["l2"]), float(said["dropout"]))[:, :items]
    return lambda users: np.asarray(known[users] @ weights, np.float32)


def ease_weights(gram: Matrix, l2: float, dropout: float) -> Floats:
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


def slim(inputs: Inputs) -> Scorer:
    """SLIM (Ning & Karypis, ICDM 2011): an elastic net of every item on the others, without negative weights."""
    matrix, said = inputs.log.matrix, inputs.parameters
    gram = np.asarray((matrix.T @ matrix).todense(), np.float32)
    weights = slim_weights(gram, float(said["l1"]), float(said["l2"]), STEPS)
    return lambda users: np.asarray(matrix[users] @ weights, np.float32)


def slim_weights(gram: Floats, l1: float, l2: float, steps: int) -> Floats:
    """B [items, items] ≥ 0 with a zero diagonal that minimises ½|X − XB|² + ½·l2·|B|² + l1·Σ B, for G = XᵀX.

    By alternating directions (Steck et al., ADMM SLIM, WSDM 2020).
    """
    rho = np.float32(np.trace(gram) / len(gram) + l2)
    inverse = np.linalg.inv(gram + (l2 + rho) * np.eye(len(gram), dtype=np.float32))
    start, diagonal = inverse @ gram, np.diag(inverse)
    sparse, dual = np.zeros_like(gram), np.zeros_like(gram)
    for _ in range(steps):
        dense = start + inverse @ (rho * sparse - dual)
        dense -= inverse * (np.diag(dense) / diagonal)
        sparse = np.maximum(dense + dual / rho - l1 / rho, 0.0).astype(np.float32)
        dual += rho * (dense - sparse)
    np.fill_diagonal(sparse, 0.0)
    return sparse


def ials(inputs: Inputs) -> Scorer:
    """Implicit alternating least squares (Hu et al., ICDM 2008), regularised by frequency (Rendle et al., RecSys 2022).

    A user's vector is solved from his items, so that whoever comes later is no retraining.
    """
    matrix, said = inputs.log.matrix, inputs.parameters
    rng = np.random.default_rng(inputs.seed)
    items, transposed = rng.normal(0.0, 0.1, (inputs.log.width, int(said["width"]))), matrix.T.tocsr()
    weights = float(said["unseen"]), float(said["l2"])
    with threadpool_limits(1):  # small systems: threads would only wait for each other
        for sweep in range(1, SWEEPS + 1):
            items = solve(transposed, solve(matrix, items, *weights), *weights)
            inputs.report("iALS", sweep, SWEEPS)
        found = solve(matrix, items, *weights).astype(np.float32)
    columns = items.T.astype(np.float32)
    return lambda asked: found[asked] @ columns


def solve(matrix: sp.csr_matrix, factors: Matrix, unseen: float, l2: float) -> Matrix:
    """Row factors that minimise Σ (1 − u·v)² over what is there + unseen·Σ (u·v)² over all + l2·(n + unseen·m)·|u|².

    `factors` [m, d] are the columns'; n is what a row has. Returns [rows, d].
    """
    everywhere = unseen * factors.T @ factors
    result, eye = np.zeros((matrix.shape[0], factors.shape[1])), np.eye(factors.shape[1])
    for row in range(matrix.shape[0]):
        there = factors[matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]]
        weight = l2 * (len(there) + unseen * len(factors))
        result[row] = np.linalg.solve(everywhere + there.T @ there + weight * eye, there.sum(0))
    return result
