"""Vectors to search: a seeded mixture made chunk by chunk, or two `.npy` files. Host memory stays at one chunk.

The mixture stands in where no trained tower is at hand: unit vectors around `CENTRES` random directions, with noise
that leaves a cosine of about 0.8 to the own centre, so that the 500 nearest of a query come from several clusters.
Queries are drawn from the same mixture by another seed. `perf.gpu.trained` resamples a trained line instead.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from feature_repo.vectors import Floats
from perf.errors import PerfError

CHUNK = 1 << 18
CENTRES = 4096
NOISE = 0.75  # length of the noise beside a centre of length 1: cosine 1 / √(1 + 0.75²) = 0.8


class Vectors(Protocol):
    """Rows by inner product; `name` and the sizes are stored beside every figure."""

    @property
    def items(self) -> int:
        """Number of rows."""

    @property
    def dimension(self) -> int:
        """Columns."""

    @property
    def name(self) -> str:
        """Where the rows come from."""

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """(first row, rows [≤ CHUNK, dimension]) over all rows in order, the same each time."""

    def queries(self, count: int) -> Floats:
        """[count, dimension], the same each time."""


@dataclass(frozen=True)
class Mixture:
    """The seeded mixture."""

    items: int
    dimension: int = 128
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is."""
        return f"mixture of {CENTRES} directions, noise {NOISE:g}, seed {self.seed}"

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """Chunk c is drawn from the seed (seed, 1, c): any chunk can be made again by itself."""
        for number, first in enumerate(range(0, self.items, CHUNK)):
            yield first, self._draw(min(CHUNK, self.items - first), (self.seed, 1, number))

    def queries(self, count: int) -> Floats:
        """From the seed (seed, 2)."""
        return self._draw(count, (self.seed, 2))

    @cached_property
    def _centres(self) -> Floats:
        rng = np.random.default_rng((self.seed, 0))
        return _unit(rng.standard_normal((CENTRES, self.dimension), np.float32))

    def _draw(self, count: int, seed: tuple[int, ...]) -> Floats:
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((count, self.dimension), np.float32)
        noise *= np.float32(NOISE / self.dimension**0.5)
        return _unit(self._centres[rng.integers(CENTRES, size=count)] + noise)


@dataclass(frozen=True)
class Stored:
    """Two `.npy` files of float32 or float16, memory-mapped: item vectors, and the queries of users."""

    rows: Path
    users: Path

    def __post_init__(self) -> None:
        if self._rows.shape[1:] != self._users.shape[1:] or self._rows.ndim != 2:
            raise PerfError(f"{self.rows} holds {self._rows.shape}, {self.users} {self._users.shape}; expected "
                            "[n, d] and [q, d]")  # fmt: skip

    @property
    def items(self) -> int:
        """Rows of the first file."""
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """Columns of both."""
        return int(self._rows.shape[1])

    @property
    def name(self) -> str:
        """The files."""
        return f"{self.rows.name}, queries {self.users.name}"

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """Read from the file."""
        for first in range(0, self.items, CHUNK):
            yield first, np.asarray(self._rows[first : first + CHUNK], np.float32)

    def queries(self, count: int) -> Floats:
        """The first `count`, again from the start when the file holds fewer."""
        return np.asarray(self._users[np.arange(count) % len(self._users)], np.float32)

    @cached_property
    def _rows(self) -> Floats:
        return _open(self.rows)

    @cached_property
    def _users(self) -> Floats:
        return _open(self.users)


@dataclass(frozen=True)
class Kept:
    """Vectors drawn once, into a `.npy` file of the folder, and read from it by every index: 5 GB for 10M × 128."""

    source: Vectors
    folder: Path

    @property
    def items(self) -> int:
        """The source's."""
        return self.source.items

    @property
    def dimension(self) -> int:
        """The source's."""
        return self.source.dimension

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """Read from the file, after writing it where it is missing."""
        rows = _open(self._write())
        for first in range(0, self.items, CHUNK):
            yield first, np.asarray(rows[first : first + CHUNK])

    def queries(self, count: int) -> Floats:
        """The source's."""
        return self.source.queries(count)

    def _write(self) -> Path:
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        path = self.folder / f"vectors-{self.items}-{digest}.npy"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            draft, shape = path.with_suffix(".new"), (self.items, self.dimension)
            rows = np.lib.format.open_memmap(draft, "w+", np.float32, shape)
            for first, chunk in self.source.chunks():
                rows[first : first + len(chunk)] = chunk
            rows.flush()
            draft.rename(path)
        return path


def sample(vectors: Vectors, count: int) -> Floats:
    """About `count` rows, evenly from every chunk: what an index is trained on."""
    every = max(1, vectors.items // count)
    return np.concatenate([rows[::every] for _, rows in vectors.chunks()])[:count]


def _open(path: Path) -> Floats:
    try:
        array: Floats = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PerfError(f"{path} is not a .npy file of vectors: {error}") from None
    return array


def _unit(rows: Floats) -> Floats:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
