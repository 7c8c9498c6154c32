"""A synthetic catalogue as the exporter reads one: `items` of them, chunk by chunk, the same ones every time.

Each item has a vector of the mixture (or of a file) and, for everything else, the row of a trained item of the same
cell: features, price, category, stock, regions, title.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.settings import Settings
from exporters.build import QUERIES, load_catalogue
from exporters.generation import Chunk
from exporters.table import ItemTable
from feature_repo.displays import DISPLAYED
from feature_repo.vectors import Floats, Ints
from model_repository.contract import EMBEDDING_WIDTH
from perf.catalogue.vectors import Mixture, fit
from perf.errors import PerfError
from training.lines import Line
from training.matrices import Graphs

CHUNK = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The catalogue that is resampled: its table, vectors [n, d], and what an answer shows of each row."""

    table: ItemTable
    vectors: Floats
    shown: pa.Table

    @classmethod
    def read(cls, settings: Settings, line: Line) -> "Trained":
        """The workspace's catalogue of this moment."""
        table, content = load_catalogue(settings)
        vectors = Graphs(line.folder).embed_items(table.features, content)
        stored = pq.read_table(settings.tables / "items", columns=[c for c in DISPLAYED if c != "item_id"])
        ids = pq.read_table(settings.tables / "items", columns=["item_id"])["item_id"].to_pylist()
        row_of = {item_id: row for row, item_id in enumerate(ids)}
        return cls(table=table, vectors=vectors, shown=stored.take([row_of[i] for i in table.ids]))


class SyntheticCatalogue:
    """See the module. `queries` [q, d], where given, are what the index is tuned with instead of real users."""

    name = "synthetic"

    def __init__(
        self,
        trained: Trained,
        items: int,
        seed: int = 1,
        given: Floats | None = None,
        queries: Floats | None = None,
        chunk: int = CHUNK,
        prefix: str = "s",
    ) -> None:
        if given is not None and len(given) < items:
            raise PerfError(f"the file has {len(given)} vectors, --items is {items}; ask for at most as many")
        self.items, self.queries = items, None if queries is None else _some(queries)
        self._trained, self._seed, self._given, self._chunk = trained, seed, given, chunk
        self._mixture: Mixture = fit(trained.vectors)
        self.prefix = prefix  # of every id

    def chunks(self) -> Iterator[Chunk]:
        """Tables and vectors, `chunk` rows at a time."""
        for first in range(0, self.items, self._chunk):
            vectors, like = self._draw(first)
            yield self._table(first, like), vectors

    def samples(self) -> tuple[Floats, Floats]:
        """The trained vectors [n, d], and the first so many of the catalogue (or all it has)."""
        trained = self._trained.vectors
        return trained, self._draw(0)[0][: len(trained)]

    def write_shown(self, folder: Path, part: int = 0) -> None:
        """What an answer shows of each item, as the validated catalogue table says it; `part` numbers the file."""
        folder.mkdir(parents=True, exist_ok=True)
        schema = self._trained.shown.schema.insert(0, pa.field("item_id", pa.string()))
        with pq.ParquetWriter(folder / f"part-{part}.parquet", schema) as writer:
            for first in range(0, self.items, self._chunk):
                like = self._draw(first)[1]
                ids = pa.array(self._ids(first, len(like)), pa.string())
                writer.write_table(self._trained.shown.take(like).add_column(0, schema[0], ids))

    def _draw(self, first: int) -> tuple[Floats, Ints]:
        """Vectors of the chunk from row `first`, and the trained row each is like."""
        count = min(self._chunk, self.items - first)
        rng = np.random.default_rng((self._seed, first))
        if self._given is None:
            return self._mixture.sample(count, rng)
        vectors = _finite(self._given[first : first + count], "--vectors")
        return vectors, rng.integers(len(self._trained.table), size=count)

    def _ids(self, first: int, count: int) -> list[str]:
        width = max(6, len(str(self.items - 1)))
        return [f"{self.prefix}{row:0{width}d}" for row in range(first, first + count)]

    def _table(self, first: int, like: Ints) -> ItemTable:
        table = self._trained.table
        rows = like.tolist()
        return ItemTable(
            ids=self._ids(first, len(rows)),
            features=table.features[like],
            rules=table.rules[like],
            regions=[table.regions[row] for row in rows],
            display=[table.display[row] for row in rows],
        )


def read_vectors(path: Path | None) -> Floats | None:
    """Vectors [n, EMBEDDING_WIDTH] of a .npy file, mapped. Raises PerfError for anything else."""
    if path is None:
        return None
    try:
        vectors: Floats = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PerfError(f"{path}: {error}; give a .npy file of float32 vectors") from None
    if vectors.ndim != 2 or vectors.shape[1] != EMBEDDING_WIDTH or vectors.dtype.kind != "f":
        raise PerfError(f"{path} holds {vectors.dtype} {vectors.shape}, expected floats [n, {EMBEDDING_WIDTH}]")
    return vectors


def _some(queries: Floats) -> Floats:
    """As many of the queries as an index is measured with."""
    chosen = np.random.default_rng(1).permutation(len(queries))[:QUERIES]
    return _finite(queries[np.sort(chosen)], "--queries")


def _finite(vectors: Floats, option: str) -> Floats:
    if not np.isfinite(vectors).all():
        raise PerfError(f"{option} holds a NaN or an infinity; clean the file")
    return np.ascontiguousarray(vectors, np.float32)
