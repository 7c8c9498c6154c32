"""Principal components: wide vectors reduced to a few columns, by a basis that is kept with the features.

A line is trained on what its basis made of titles and images, so whoever computes features for that line later uses
the same one: `content_basis.npz` stands beside the vocabulary and counts like it.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from feature_repo.vectors import Floats

FILE = "content_basis.npz"
MOST_ROWS = 50_000  # the basis is fitted on at most so many vectors
DIGITS = 4  # kept, so that the order of the rows it was fitted on does not matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """`mean` [wide] and `axes` [wide, width]; an axis the data does not span is 0."""

    mean: Floats
    axes: Floats

    def reduce(self, vectors: Floats) -> Floats:
        """[n, wide] → [n, width]."""
        return np.asarray((vectors - self.mean) @ self.axes, np.float32)


def fit(vectors: Floats, width: int) -> Basis:
    """The `width` leading components of vectors [n, wide]; each axis points to its largest part, so signs repeat."""
    wide = vectors.shape[1]
    if not vectors.size:
        return Basis(mean=np.zeros(wide, np.float32), axes=np.zeros((wide, width), np.float32))
    rows = vectors[:: -(-len(vectors) // MOST_ROWS)].astype(np.float64)
    mean = rows.mean(0)
    _, vectors_by_value = np.linalg.eigh((rows - mean).T @ (rows - mean))
    known = min(width, wide, len(rows) - 1)  # what n centred rows can span
    axes = np.zeros((wide, width))
    axes[:, :known] = vectors_by_value[:, ::-1][:, :known]
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(width)])
    axes = axes * np.where(signs < 0, -1.0, 1.0)
    return Basis(mean=mean.round(DIGITS).astype(np.float32), axes=axes.round(DIGITS).astype(np.float32))


def save(folder: Path, **bases: Basis) -> None:
    """Write content_basis.npz: the bases by name."""
    arrays = {f"{name}_{part}": array for name, basis in bases.items() for part, array in asdict(basis).items()}
    np.savez(folder / FILE, **arrays)


def load(folder: Path, name: str) -> Basis:
    """One basis of a features folder."""
    with np.load(folder / FILE) as stored:
        return Basis(mean=stored[f"{name}_mean"], axes=stored[f"{name}_axes"])


def digest(folder: Path) -> str:
    """SHA-256 of the bases of a features folder: what text and image components mean."""
    with np.load(folder / FILE) as stored:
        return hashlib.sha256(b"".join(stored[name].tobytes() for name in sorted(stored.files))).hexdigest()
