"""The part of a release's catalogue that Feast can hold in a minute: every n-th item with all that is known of it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from exporters.records import read_features, read_id_bytes
from feature_repo.vectors import Floats, Ints
from model_repository.contract import CANDIDATE_SEARCH

FEAST_ITEMS = 20_000


@dataclass(frozen=True)
class Subset:
    """At most `most` items of the `candidates` folder of a release, evenly spread over its rows."""

    folder: Path
    most: int = FEAST_ITEMS

    @classmethod
    def of(cls, release: Path, most: int = FEAST_ITEMS) -> "Subset":
        """Of a release's folder."""
        return cls(release / CANDIDATE_SEARCH.name, most)

    @cached_property
    def rows(self) -> Ints:
        """Rows of the catalogue, ascending [n]."""
        items = len(self._column("keys"))
        return np.unique(np.linspace(0, items - 1, min(items, self.most)).astype(np.int64))

    @cached_property
    def keys(self) -> Ints:
        """[n]."""
        return np.asarray(self._column("keys")[self.rows])

    @cached_property
    def id_bytes(self) -> npt.NDArray[np.bytes_]:
        """[n], fixed width."""
        stored = np.ascontiguousarray(read_id_bytes(self.folder, self.rows))
        return stored.view(f"S{stored.shape[1]}")[:, 0]

    @property
    def ids(self) -> list[str]:
        """[n]."""
        return [item.decode() for item in self.id_bytes.tolist()]

    @cached_property
    def rules(self) -> Floats:
        """The stored rule columns [n, STORED_RULES]."""
        return np.asarray(self._column("rules")[self.rows])

    @property
    def features(self) -> Floats:
        """[n, ITEM_WIDTH]."""
        return read_features(self.folder, self.rows)

    @property
    def vectors(self) -> Floats:
        """[n, d] as the index holds them, which for a quantised one is not quite what the item tower said."""
        index = faiss.read_index(str(self.folder / CANDIDATE_SEARCH.artifact))
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
        vectors: Floats = index.reconstruct_batch(self.rows)
        return vectors

    def in_region(self, country: int) -> Floats:
        """1 for the items that may be shown in a country, by its code, else 0 [n]."""
        bit = int(self._bits.get(str(country), 0))
        return (self._regions[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.float32)

    @cached_property
    def _bits(self) -> dict[str, int]:
        return dict(json.loads((self.folder / "table.json").read_text())["regions"])

    @cached_property
    def _regions(self) -> npt.NDArray[np.uint64]:
        return np.asarray(self._column("regions")[self.rows])

    def _column(self, name: str) -> npt.NDArray[np.generic]:
        column: npt.NDArray[np.generic] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return column
