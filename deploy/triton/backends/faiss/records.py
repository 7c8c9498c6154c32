"""The item table as packed records: all that an answer takes of an item lies together, on one page, in few cache lines.

`records.npy` is a structured array [n], row for row with the index, memory-mapped. A record is `key` int64; `rules`
float32 [columns]; the features of each storage type (`f4`, `f2`, `u1` …), whose columns `feature_columns` of table.json
names; `id` uint8 [`id_bytes`], UTF-8 padded with NUL; zeros up to a multiple of 8. Features are answered as float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
FILE = "records.npy"
DESCRIBED = ("id_bytes", "rule_columns", "feature_columns")  # what table.json says of a record
BUILD_AGAIN = "another revision built this generation; `python -m exporters publish` builds the next"


class CatalogueError(ValueError):
    """The generation's files do not fit together, or a query does not fit the index."""


def record_type(id_bytes: int, rules: int, features: Mapping[str, Sequence[int]]) -> np.dtype[Any]:
    """A record's type: the widest numbers first, all aligned. `features` is table.json's `feature_columns`."""
    blocks = [(kind, f"<{kind}", (len(columns),)) for kind, columns in features.items()]
    fields = [("key", "<i8", ()), ("rules", "<f4", (rules,)), *blocks, ("id", "u1", (id_bytes,))]
    return np.dtype(sorted(fields, key=lambda field: -np.dtype(field[1]).itemsize), align=True)


class Records:
    """The records in `folder`, as its table.json, `facts`, describes them. Raises CatalogueError."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        if not (folder / FILE).is_file():
            raise CatalogueError(f"{FILE} is missing: {BUILD_AGAIN}")
        if missing := [name for name in DESCRIBED if name not in facts]:
            raise CatalogueError(f"table.json says nothing of {missing}: {BUILD_AGAIN}")
        columns: Mapping[str, list[int]] = facts["feature_columns"]
        self._type = record_type(facts["id_bytes"], len(facts["rule_columns"]), columns)
        self.array = mapped(folder / FILE)
        if self.array.dtype != self._type or self.array.ndim != 1:
            raise CatalogueError(f"{FILE} is {self.array.dtype} {self.array.shape}, table.json says {self._type}")
        places = sorted(place for block in columns.values() for place in block)
        self.width = len(places)
        if places != list(range(self.width)):
            raise CatalogueError(f"feature_columns of table.json do not number {self.width} features once each")
        self._runs = {kind: list(_runs(block)) for kind, block in columns.items()}
        self._whole = self.array.view(f"V{self._type.itemsize}")  # taken as bytes, not field by field

    def __len__(self) -> int:
        return len(self.array)

    def features(self, rows: np.ndarray | slice) -> np.ndarray:
        """[…] rows → […, features] float32."""
        return self._features(self._whole[rows].view(self._type))

    def answer(self, rows: np.ndarray, count: np.ndarray) -> Arrays:
        """[b, k] rows → the tensors of their items [b, k, …], zeros past each row's `count` [b, 1]."""
        past = np.arange(rows.shape[1]) >= count
        taken = self._whole.take(rows)
        if past.any():
            taken[past] = b""
        records = taken.view(self._type)
        rules = np.empty((*rows.shape, records["rules"].shape[-1] + 1), np.float32)
        rules[..., :-1], rules[..., -1] = records["rules"], ~past  # `in_region` last: what was found is
        return {
            "item_key": np.ascontiguousarray(records["key"]),
            "item_id": np.ascontiguousarray(records["id"]),
            "item_features": self._features(records),
            "rules": rules,
        }

    def _features(self, records: np.ndarray) -> np.ndarray:
        result = np.empty((*records.shape, self.width), np.float32)
        for kind, runs in self._runs.items():
            block = singles(records[kind]) if kind == "f2" else records[kind]
            for columns, stored in runs:
                result[..., columns] = block[..., stored]
        return result


def mapped(path: Path) -> np.ndarray:
    """A .npy file's array, memory-mapped: not numpy's `memmap`, which takes longer for every view. CatalogueError."""
    try:
        array: np.ndarray = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise CatalogueError(f"{path.name}: {error}") from None
    return array


def singles(halves: np.ndarray) -> np.ndarray:
    """Finite float16 as float32, bit for bit: numpy converts one at a time, with branches, five times as long.

    Sign, exponent and mantissa move to their places; the exponents' biases are 127 - 15 = 112 apart.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~0x70000000  # the copies of the sign below it
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0**112)
    return numbers


def _runs(columns: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Neighbours among the features that are neighbours in their block too: where they go, and where they lie."""
    ends = [*(np.flatnonzero(np.diff(columns) != 1) + 1).tolist(), len(columns)]
    for first, end in zip([0, *ends], ends, strict=False):
        yield slice(columns[first], columns[first] + end - first), slice(first, end)
