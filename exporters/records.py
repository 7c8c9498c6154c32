"""The item table's records on disk, written a part at a time and read back.

Every value was rounded to its feature's type by `feature_repo.vectors.stored`, so reading gives back the same bits.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.triton.backends.faiss.records import FILE, CatalogueError, Records, record_type
from exporters.errors import ExportError, ManifestError
from exporters.manifest import TABLE
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, Ints
from model_repository.contract import RULE_COLUMNS

STORED_RULES = RULE_COLUMNS[:-1]  # `in_region` is the request's, not the item's


def item_blocks() -> dict[str, list[int]]:
    """{storage type: columns of the item group}, in the schema's order."""
    blocks: dict[str, list[int]] = {}
    for feature in SCHEMA.group("item"):
        columns = SCHEMA.columns(feature.name)
        blocks.setdefault(np.dtype(feature.dtype).str[1:], []).extend(range(columns.start, columns.stop))
    return blocks


class RowFile:
    """A .npy file of a known shape, written a few rows at a time."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._path, self._dtype, self._shape = path, dtype, shape
        self._rows = 0
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, rows: npt.NDArray[Any]) -> None:
        """The next rows [n, …]. Raises ExportError for another width."""
        if rows.shape[1:] != self._shape[1:]:
            raise ExportError(f"{self._path.name}: rows of shape {rows.shape[1:]}, expected {self._shape[1:]}")
        self._rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def close(self) -> None:
        """Close the file, whatever it holds."""
        self._file.close()

    def require_all(self) -> None:
        """Raises ExportError when not all rows came."""
        if self._rows != self._shape[0]:
            raise ExportError(f"{self._path.name}: {self._rows} rows were written, expected {self._shape[0]}")


class RecordWriter:
    """The `file` of a table of `items` records with ids of `id_bytes`; `part` of them are in memory at once."""

    def __init__(self, folder: Path, items: int, id_bytes: int, part: int = 65_536) -> None:
        self._part, self._blocks = part, item_blocks()
        self._type = record_type(id_bytes, len(STORED_RULES), self._blocks)
        self.file = RowFile(folder / FILE, self._type, (items,))

    def add(self, keys: Ints, ids: npt.NDArray[np.uint8], rules: Floats, features: Floats) -> None:
        """The next items: keys [n], ids [n, id_bytes], rules [n, STORED_RULES], features [n, ITEM_WIDTH].

        Raises ExportError where a type loses a value.
        """
        for first in range(0, len(keys), self._part):
            rows = slice(first, first + self._part)
            records = np.zeros(len(keys[rows]), self._type)  # the padding too: the file is hashed
            records["key"], records["id"], records["rules"] = keys[rows], ids[rows], rules[rows]
            for kind, columns in self._blocks.items():
                records[kind] = _narrowed(kind, columns, features[rows, columns])
            self.file.add(records)


def read_id_bytes(folder: Path, rows: Ints | slice = slice(None)) -> npt.NDArray[np.uint8]:
    """Ids of the table's rows, padded with NUL [n, id_bytes]; before table.json is written too."""
    return np.asarray(np.load(folder / FILE, mmap_mode="r")["id"][rows])


def read_ids(folder: Path, rows: Ints | slice = slice(None)) -> list[str]:
    """The same as text."""
    return [raw.tobytes().rstrip(b"\0").decode() for raw in read_id_bytes(folder, rows)]


def read_features(folder: Path, rows: Ints | slice = slice(None)) -> Floats:
    """Features of the table's rows: [n, ITEM_WIDTH]. Raises ManifestError."""
    try:
        features: Floats = Records(folder, json.loads((folder / TABLE).read_text())).features(rows)
        return features
    except CatalogueError as error:
        raise ManifestError(f"{folder}: {error}") from None


def _narrowed(kind: str, columns: list[int], values: Floats) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        block = values.astype(kind)
    if lost := np.flatnonzero(((block.astype(np.float32) != values) | ~np.isfinite(values)).any(axis=0)).tolist():
        names = [name for f in SCHEMA.group("item") for name in f.columns]
        raise ExportError(f"{names[columns[lost[0]]]} holds values that {np.dtype(kind).name} cannot")
    return block
