"""Sizes of an IVF index, the same rule on both devices."""

import math

from feature_repo.vectors import Floats
from perf.gpu.vectors import Vectors, sample

POINTS_PER_LIST = 64  # k-means wants 39 at least (Clustering.h, min_points_per_centroid)


def nlist_of(items: int) -> int:
    """4 √n as a power of two: 4096 lists for a million items, 16,384 for ten million."""
    wanted = min(4 * math.sqrt(items), items / POINTS_PER_LIST)
    return int(2 ** max(0, round(math.log2(wanted))))


def training_sample(vectors: Vectors, nlist: int) -> Floats:
    """What k-means and the scalar quantizer look at."""
    return sample(vectors, min(vectors.items, nlist * POINTS_PER_LIST))


def nprobes(nlist: int, most: int) -> tuple[int, ...]:
    """1, 2, 4 … up to the smaller of nlist and what the device allows, which comes last."""
    last = min(nlist, most)
    return (*(2**i for i in range(last.bit_length()) if 2**i < last), last)
