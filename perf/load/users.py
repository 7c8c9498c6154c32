"""Which users ask: popularity that falls as rank^-skew (Zipf), and how often they come again."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK = 4096
Shares = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


def popularity(users: int, skew: float) -> Shares:
    """Share of requests by popularity rank, most popular first: [users], sums to 1. Skew 0 is uniform."""
    weights: Shares = np.arange(1, users + 1, dtype=np.float64) ** -skew
    weights /= weights.sum()
    return weights


def asking(users: int, skew: float, seed: int) -> Iterator[int]:
    """Numbers in [0, users) of who asks next, without end; which user is popular is drawn too."""
    rng = np.random.default_rng(seed)
    by_rank, reach = rng.permutation(users), np.cumsum(popularity(users, skew))
    while True:
        ranks = np.minimum(np.searchsorted(reach, rng.random(BLOCK), side="right"), users - 1)
        yield from by_rank[ranks].tolist()


def repeats(asked: Numbers) -> float:
    """Share of requests whose user asked before within the run: hits of a cache that forgets nobody."""
    return 1 - len(np.unique(asked)) / len(asked) if len(asked) else 0.0
