"""What Triton is asked when a release is published.

It is kept with the release: publishing needs neither the data that a line was trained on nor the libraries that trained
it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from exporters.errors import ManifestError
from feature_repo.vectors import Floats, Ints

GOLDEN = ("golden_users", "golden_histories", "golden_keys")
RANKER_ROWS = "golden_rows.npy"


class Queries(NamedTuple):
    """Of q users, in `candidates`: rows [q, USER_WIDTH], histories [q, HISTORY], and the keys [q, k] of the nearest
    items that sell everywhere."""

    users: Floats
    histories: Ints
    keys: Ints


def write_queries(folder: Path, queries: Queries) -> None:
    """Keep them in a slot's folder."""
    np.save(folder / f"{GOLDEN[0]}.npy", queries.users)
    np.save(folder / f"{GOLDEN[1]}.npy", queries.histories)
    np.save(folder / f"{GOLDEN[2]}.npy", queries.keys)


def read_queries(folder: Path) -> Queries:
    """Those of a slot's folder. Raises ManifestError."""
    return Queries(*(_load(folder / f"{name}.npy") for name in GOLDEN))


def write_ranker_rows(folder: Path, rows: Floats) -> None:
    """Keep ordinary and edge rows [n, RANKER_WIDTH] beside the forest."""
    np.save(folder / RANKER_ROWS, rows)


def read_ranker_rows(folder: Path) -> Floats:
    """Those beside the forest. Raises ManifestError."""
    return _load(folder / RANKER_ROWS)


def _load(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path))
    except FileNotFoundError:
        raise ManifestError(
            f"{path} is missing: another revision built this release; `python -m exporters publish` builds the next"
        ) from None
