"""Item vectors as hard to search as the tower's own: a Gaussian mixture fitted on them, sampled as often as wanted.

A component for each k-means cell, its covariance shrunk towards the pooled within-cell covariance by the number of
vectors it was seen in (Friedman, "Regularized Discriminant Analysis", JASA 1989, eq. 17 with one parameter), so that
small cells still have the shape of the space. Sampled vectors get the length of a trained one of their cell.
`local_dimension` says how hard a neighbourhood is; making a catalogue says it of trained and drawn vectors.
"""

from dataclasses import dataclass

import faiss
import numpy as np

from feature_repo.vectors import Floats, Ints

VECTORS_PER_CELL = 20
MOST_CELLS = 256
PRIOR = 64.0  # vectors that the pooled covariance counts as


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """c cells: weights [c], means [c, d], factors [c, d, d] with factor·factorᵀ the covariance; `members` are the rows
    of the trained vectors by cell, `lengths` [n] their lengths."""

    weights: Floats
    means: Floats
    factors: Floats
    members: tuple[Ints, ...]
    lengths: Floats

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """[count, d] vectors, and for each the trained row [count] of its cell whose length it has."""
        cells = np.sort(rng.choice(len(self.weights), count, p=self.weights / self.weights.sum()))
        noise = rng.standard_normal((count, self.means.shape[1]), np.float32)
        vectors, like = np.empty_like(noise), np.empty(count, np.int64)
        for cell, rows in _runs(cells):
            vectors[rows] = self.means[cell] + noise[rows] @ self.factors[cell].T
            like[rows] = rng.choice(self.members[cell], rows.stop - rows.start)
        vectors *= (self.lengths[like] / np.linalg.norm(vectors, axis=1))[:, None]
        order = rng.permutation(count)
        return vectors[order], like[order]


def fit(vectors: Floats) -> Mixture:
    """Fit on trained vectors [n, d], seeded."""
    cells = _cells(vectors)
    count = int(cells.max()) + 1
    members = tuple(np.flatnonzero(cells == cell) for cell in range(count))
    means = np.stack([vectors[rows].mean(axis=0) for rows in members])
    pooled = np.cov((vectors - means[cells]).T)
    factors = [_factor(vectors[rows], pooled) for rows in members]
    return Mixture(
        weights=np.array([len(rows) for rows in members], np.float32),
        means=means,
        factors=np.stack(factors).astype(np.float32),
        members=members,
        lengths=np.linalg.norm(vectors, axis=1),
    )


def local_dimension(similarities: Floats, k: int) -> float:
    """Median over queries of the intrinsic dimension around them, from the k largest of similarities [q, n] of unit
    vectors: Levina & Bickel's maximum-likelihood estimate (NIPS 2004, eq. 8) on Euclidean distances."""
    nearest = -np.sort(-similarities, axis=1)[:, :k]
    distances = np.sqrt(np.maximum(2.0 - 2.0 * nearest.astype(np.float64), 1e-12))
    estimates = 1.0 / np.mean(np.log(distances[:, -1:] / distances[:, :-1]), axis=1)
    return float(np.median(estimates))


def _cells(vectors: Floats) -> Ints:
    """A cell number for each vector, no cell empty."""
    count = max(1, min(MOST_CELLS, len(vectors) // VECTORS_PER_CELL))
    clustering = faiss.Kmeans(vectors.shape[1], count, niter=20, seed=1234, min_points_per_centroid=1)
    clustering.train(np.ascontiguousarray(vectors))
    nearest = clustering.index.search(vectors, 1)[1][:, 0]
    return np.unique(nearest, return_inverse=True)[1].astype(np.int64)


def _factor(vectors: Floats, pooled: Floats) -> Floats:
    own = np.cov(vectors.T) if len(vectors) > 1 else np.zeros_like(pooled)
    share = len(vectors) / (len(vectors) + PRIOR)
    values, axes = np.linalg.eigh(share * own + (1.0 - share) * pooled)
    factor: Floats = axes * np.sqrt(np.maximum(values, 0.0))
    return factor


def _runs(cells: Ints) -> list[tuple[int, slice]]:
    """The runs of equal values in sorted `cells`."""
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    ends = np.append(starts[1:], len(cells))
    return [(int(cells[a]), slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]
