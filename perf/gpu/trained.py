"""Vectors as hard to search as a trained line's: `perf.catalogue`'s mixture of its items, queries of its own users."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deploy.settings import Settings
from exporters.build import some_users
from feature_repo.vectors import Floats
from model_repository.contract import EMBEDDING_WIDTH
from perf.catalogue.source import Trained
from perf.catalogue.vectors import Mixture, fit
from perf.gpu.vectors import CHUNK
from training.dataset import Dataset
from training.lines import Line


@dataclass(frozen=True)
class Resampled:
    """`items` vectors drawn from the mixture of the line's item vectors."""

    settings: Settings
    line: Line
    items: int
    seed: int = 0
    dimension: int = EMBEDDING_WIDTH

    @property
    def name(self) -> str:
        """The line they are resampled from."""
        return f"resampled from line {self.line.number}, tower {self.line.tower_digest}, seed {self.seed}"

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """Chunk c is drawn from the seed (seed, 1, c)."""
        for number, first in enumerate(range(0, self.items, CHUNK)):
            rng = np.random.default_rng((self.seed, 1, number))
            yield first, self._mixture.sample(min(CHUNK, self.items - first), rng)[0].astype(np.float32)

    def queries(self, count: int) -> Floats:
        """Embeddings of the workspace's users, again from the start when there are fewer."""
        return self._users[np.arange(count) % len(self._users)]

    @cached_property
    def _mixture(self) -> Mixture:
        return fit(Trained.read(self.settings, self.line).vectors)

    @cached_property
    def _users(self) -> Floats:
        return some_users(Dataset(self.settings.features), self.line, 4096).embeddings
