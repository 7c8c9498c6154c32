"""Tables of the features folder as arrays: snapshots by (id, moment), contents and keys by item."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.recent import Action
from feature_repo.schema import HISTORY, SCHEMA, Group
from feature_repo.vectors import Floats, Ints, columns_to_array
from training.errors import DataError

KEYS: dict[Group, str] = {"user": "user_id", "item": "item_id", "content": "item_id"}


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Feature rows [n, width] of one entity kind by (id, time they became available)."""

    index: pd.MultiIndex
    rows: Floats

    @classmethod
    def read(cls, folder: Path, group: Group) -> "Snapshots":
        """Read a snapshot folder of the offline store."""
        table = read(folder, [KEYS[group], "event_timestamp", *(f.name for f in SCHEMA.group(group))])
        index = pd.MultiIndex.from_arrays([texts(table[KEYS[group]]), moments(table["event_timestamp"])])
        return cls(index, group_array(group, table))

    @property
    def ids(self) -> npt.NDArray[np.object_]:
        """Id of every row."""
        return np.asarray(self.index.get_level_values(0), object)

    def find(self, ids: npt.NDArray[np.object_], at: npt.NDArray[np.datetime64]) -> Ints:
        """Row of each (id, moment). Raises DataError when a snapshot is missing."""
        found = self.index.get_indexer(pd.MultiIndex.from_arrays([ids, at]))
        if (found < 0).any():
            first = int(np.flatnonzero(found < 0)[0])
            raise DataError(
                f"{int((found < 0).sum())} rows have no snapshot, first: {ids[first]} at {at[first]}; "
                "run `python -m training features` again"
            )
        return found.astype(np.int64)

    def latest(self, until: np.datetime64) -> dict[str, int]:
        """Row of every id's last snapshot available at `until`."""
        ids = self.index.get_level_values(0).to_numpy()
        at = self.index.get_level_values(1).to_numpy()
        order = np.argsort(at, kind="stable")
        return {ids[i]: int(i) for i in order[at[order] <= until]}


@dataclass(frozen=True, slots=True)
class Contents:
    """Every item's key [n] and content [n, CONTENT_WIDTH]; `index` are the ids."""

    index: pd.Index
    keys: Ints
    rows: Floats

    @classmethod
    def read(cls, folder: Path) -> "Contents":
        """Read the contents of the offline store."""
        table = read(folder)
        return cls(pd.Index(texts(table["item_id"])), ints(table, "item_key"), group_array("content", table))

    def find(self, ids: npt.NDArray[np.object_]) -> Ints:
        """Row of each item. Raises DataError when one has none."""
        found = self.index.get_indexer(pd.Index(ids))
        if (found < 0).any():
            raise DataError(f"item {ids[found < 0][0]} has no content; run `python -m training features` again")
        return found.astype(np.int64)


def read(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """A table of the features folder. Raises DataError when it is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; run `python -m training features` first")
    return pq.read_table(folder, columns=columns)


def group_array(group: Group, table: pa.Table) -> Floats:
    """The group's columns of a table: [n, width]."""
    return columns_to_array(group, {f.name: _numpy(table[f.name], f.width) for f in SCHEMA.group(group)})


def histories(folder: Path) -> Ints:
    """The users' histories, in the order of the snapshots' rows, padded with 0: [n, HISTORY]."""
    lists = read(folder, ["user_history"])["user_history"].combine_chunks()
    lengths = np.asarray(lists.value_lengths().fill_null(0), np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    result = np.zeros((len(lengths), HISTORY), np.int64)
    result[rows, places] = np.asarray(lists.flatten(), np.int64)
    return result


def recents(table: pa.Table) -> npt.NDArray[np.object_]:
    """The `recent` column as a list of actions for each row; rows of one request share theirs, nothing is `()`."""
    result = np.empty(len(table), object)
    result[:] = [()] * len(table)
    if "recent" not in table.column_names:  # of features from before there was one
        return result
    column = table["recent"].combine_chunks()
    lengths = np.asarray(column.value_lengths().fill_null(0), np.int64)
    at, key, kind = (column.flatten().field(name).to_numpy() for name in ("at", "key", "kind"))
    ends = np.cumsum(lengths)
    before: list[Action] = []
    for row in np.flatnonzero(lengths).tolist():
        part = slice(ends[row] - lengths[row], ends[row])
        columns = (at[part].tolist(), key[part].tolist(), kind[part].tolist())
        actions = [Action(a, k, 0, n) for a, k, n in zip(*columns, strict=True)]
        before = before if actions == before else actions
        result[row] = before
    return result


def texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """A text column; null is None."""
    frame = column.to_pandas()
    return np.asarray(frame.astype(object).where(frame.notna(), None))


def ints(table: pa.Table, name: str) -> Ints:
    """An integer column; null is 0."""
    return np.asarray(table[name].fill_null(0).to_numpy(), np.int64)


def moments(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    """A timestamp column, UTC, µs."""
    return np.asarray(column.cast(pa.timestamp("us")).to_numpy(), "datetime64[us]")


def _numpy(column: pa.ChunkedArray, width: int) -> npt.NDArray[np.generic]:
    if width == 1:
        return np.asarray(column.to_numpy())
    return np.asarray(column.combine_chunks().flatten()).reshape(-1, width)
