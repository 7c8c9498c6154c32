"""The item table's features on disk: one file for each storage type of the schema, row for row with the index.

`features_<type>.npy` holds the columns that `feature_columns` of table.json names for it; `<type>` is numpy's short
name. Every value was rounded to its type by `feature_repo.vectors.stored`, so reading gives back the same bits.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exporters.errors import ExportError
from feature_repo.schema import ITEM_WIDTH, SCHEMA
from feature_repo.vectors import Floats, Ints


def item_blocks() -> dict[str, list[int]]:
    """{storage type: columns of the item group}, in the schema's order."""
    blocks: dict[str, list[int]] = {}
    for feature in SCHEMA.group("item"):
        columns = SCHEMA.columns(feature.name)
        blocks.setdefault(np.dtype(feature.dtype).str[1:], []).extend(range(columns.start, columns.stop))
    return blocks


def write_features(folder: Path, features: Floats) -> dict[str, list[int]]:
    """Write [n, ITEM_WIDTH] features and return their `item_blocks`. Raises ExportError where a type loses a value."""
    blocks = item_blocks()
    for kind, columns in blocks.items():
        values = features[:, columns]
        with np.errstate(over="ignore", invalid="ignore"):
            block = values.astype(kind)
        if lost := np.flatnonzero((block.astype(np.float32) != values).any(axis=0)).tolist():
            names = [name for f in SCHEMA.group("item") for name in f.columns]
            raise ExportError(f"{names[columns[lost[0]]]} holds values that {np.dtype(kind).name} cannot")
        np.save(_path(folder, kind), block)
    return blocks


def read_features(folder: Path, rows: Ints | slice = slice(None)) -> Floats:
    """Features of the table's rows: [n, ITEM_WIDTH]."""
    blocks: Mapping[str, Sequence[int]] = json.loads((folder / "table.json").read_text())["feature_columns"]
    parts = {kind: np.load(_path(folder, kind), mmap_mode="r")[rows] for kind in blocks}
    result = np.empty((len(next(iter(parts.values()))), ITEM_WIDTH), np.float32)
    for kind, columns in blocks.items():
        result[:, columns] = parts[kind]
    return result


def _path(folder: Path, kind: str) -> Path:
    return folder / f"features_{kind}.npy"
