"""The item table's features on disk: one file for each storage type of the schema, row for row with the index.

`features_<type>.npy` holds the columns that `feature_columns` of table.json names for it; `<type>` is numpy's short
name. Every value was rounded to its type by `feature_repo.vectors.stored`, so reading gives back the same bits.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.errors import ExportError
from exporters.manifest import TABLE
from feature_repo.schema import ITEM_WIDTH, SCHEMA
from feature_repo.vectors import Floats, Ints


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


class FeatureWriter:
    """The feature `files` of a table of `items` rows, by `item_blocks`."""

    def __init__(self, folder: Path, items: int) -> None:
        self._blocks = item_blocks()
        self.files = {
            kind: RowFile(_path(folder, kind), np.dtype(kind), (items, len(columns)))
            for kind, columns in self._blocks.items()
        }

    def add(self, features: Floats) -> None:
        """The next rows [n, ITEM_WIDTH]. Raises ExportError where a type loses a value."""
        for kind, columns in self._blocks.items():
            values = features[:, columns]
            with np.errstate(over="ignore", invalid="ignore"):
                block = values.astype(kind)
            if lost := np.flatnonzero((block.astype(np.float32) != values).any(axis=0)).tolist():
                names = [name for f in SCHEMA.group("item") for name in f.columns]
                raise ExportError(f"{names[columns[lost[0]]]} holds values that {np.dtype(kind).name} cannot")
            self.files[kind].add(block)


def read_features(folder: Path, rows: Ints | slice = slice(None)) -> Floats:
    """Features of the table's rows: [n, ITEM_WIDTH]."""
    blocks: Mapping[str, Sequence[int]] = json.loads((folder / TABLE).read_text())["feature_columns"]
    parts = {kind: np.load(_path(folder, kind), mmap_mode="r")[rows] for kind in blocks}
    result = np.empty((len(next(iter(parts.values()))), ITEM_WIDTH), np.float32)
    for kind, columns in blocks.items():
        result[:, columns] = parts[kind]
    return result


def _path(folder: Path, kind: str) -> Path:
    return folder / f"features_{kind}.npy"
