"""What models are trained and judged on: feature snapshots, retrieval pairs and ranking examples, as arrays.

Rows are joined to the snapshot that would have served them, by (id, snapshot time), never by "latest".
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, columns_to_array, context_arrays
from training.errors import DataError

Ints = npt.NDArray[np.int64]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Feature rows [n, width] of one entity kind by (id, time they became available)."""

    index: pd.MultiIndex
    rows: Floats

    @classmethod
    def read(cls, folder: Path, group: Literal["user", "item"]) -> "Snapshots":
        """Read a snapshot folder of the offline store."""
        key = f"{group}_id"
        table = _read(folder, [key, "event_timestamp", *(f.name for f in SCHEMA.group(group))])
        columns = {f.name: _numpy(table[f.name], f.width) for f in SCHEMA.group(group)}
        index = pd.MultiIndex.from_arrays([_texts(table[key]), _moments(table["event_timestamp"])])
        return cls(index, columns_to_array(group, columns))

    def find(self, ids: npt.NDArray[np.object_], moments: npt.NDArray[np.datetime64]) -> Ints:
        """Row of each (id, moment). Raises DataError when a snapshot is missing."""
        found = self.index.get_indexer(pd.MultiIndex.from_arrays([ids, moments]))
        if (found < 0).any():
            first = int(np.flatnonzero(found < 0)[0])
            raise DataError(
                f"{int((found < 0).sum())} rows have no snapshot, first: {ids[first]} at {moments[first]}; "
                "run `python -m training features` again"
            )
        return found.astype(np.int64)

    def latest(self, until: np.datetime64) -> dict[str, int]:
        """Row of every id's last snapshot available at `until`."""
        ids = self.index.get_level_values(0).to_numpy()
        moments = self.index.get_level_values(1).to_numpy()
        order = np.argsort(moments, kind="stable")
        return {ids[i]: int(i) for i in order[moments[order] <= until]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Positive (user, item) pairs: ids, and rows into the snapshots."""

    user_ids: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    users: Ints
    items: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Impressions with their labels; `request` numbers the list each row was shown in, rows of a list adjoin."""

    request: Ints
    users: Ints
    items: Ints
    context: Floats
    position: Ints
    grade: Ints
    clicked: Ints
    purchased: Ints
    sampling_rate: Floats

    def __len__(self) -> int:
        return len(self.request)

    @property
    def group_sizes(self) -> Ints:
        """Rows of each list, in order."""
        starts = np.flatnonzero(np.diff(self.request, prepend=-1))
        return np.diff(np.append(starts, len(self.request)))


@dataclass(frozen=True)
class Dataset:
    """The features folder of a workspace."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`splits.json`: as_of, boundaries, has_impressions, minimum positives."""
        path = self.folder / "splits.json"
        if not path.is_file():
            raise DataError(f"{path} is missing; run `python -m training features` first")
        facts: dict[str, Any] = json.loads(path.read_text())
        if facts["schema"] != SCHEMA.hash:
            raise DataError(
                f"{path}: features of schema {facts['schema']}, this code has {SCHEMA.hash}; "
                "run `python -m training features` again"
            )
        return facts

    @cached_property
    def users(self) -> Snapshots:
        """User snapshots."""
        return Snapshots.read(self.folder / "user_snapshots", "user")

    @cached_property
    def items(self) -> Snapshots:
        """Item snapshots."""
        return Snapshots.read(self.folder / "item_snapshots", "item")

    def pairs(self, *splits: Split) -> Pairs:
        """Retrieval pairs of the splits, in time order."""
        table = _read(
            self.folder / "pairs", ["user_id", "item_id", "timestamp", "split", "user_snapshot", "item_snapshot"]
        )
        table = _of_splits(table, splits).sort_by(
            [("timestamp", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")]
        )
        users, items = _texts(table["user_id"]), _texts(table["item_id"])
        return Pairs(
            user_ids=users,
            item_ids=items,
            users=self.users.find(users, _moments(table["user_snapshot"])),
            items=self.items.find(items, _moments(table["item_snapshot"])),
        )

    def examples(self, *splits: Split) -> Examples:
        """Ranking examples of the splits, list by list."""
        table = _of_splits(_read(self.folder / "examples"), splits)
        table = table.sort_by([("request_id", "ascending"), ("position", "ascending"), ("item_id", "ascending")])
        columns = {name: _texts(table[name]) for name in ("device", "country", "placement")}
        position = _ints(table, "position")
        return Examples(
            request=pd.factorize(_texts(table["request_id"]))[0].astype(np.int64),
            users=self.users.find(_texts(table["user_id"]), _moments(table["user_snapshot"])),
            items=self.items.find(_texts(table["item_id"]), _moments(table["item_snapshot"])),
            context=context_arrays(_moments(table["timestamp"]), position=position, **columns),
            position=position,
            grade=_ints(table, "grade"),
            clicked=_ints(table, "clicked"),
            purchased=_ints(table, "purchased"),
            sampling_rate=table["sampling_rate"].to_numpy().astype(np.float32),
        )

    @cached_property
    def vocabulary_digest(self) -> str:
        """SHA-256 of `vocabulary.json`: what the codes of categories, brands and price bands mean."""
        return hashlib.sha256((self.folder / "vocabulary.json").read_bytes()).hexdigest()

    def require(self, *splits: Split) -> None:
        """Raise DataError naming a split's window when it has no pairs or no examples."""
        for split in splits:
            counts = self.facts["counts"].get(split, {})
            for table in ("pairs", "examples"):
                if not counts.get(table):
                    bounds = self.facts["boundaries"]
                    raise DataError(
                        f"{self.folder}: no {table} in the {split} window (boundaries {bounds}); "
                        "declare other windows in source.json"
                    )

    def boundary(self, name: str) -> np.datetime64:
        """A boundary of the time split, UTC."""
        return _moment(self.facts["boundaries"][name])

    def snapshot(self, split: Literal["validation", "test", "final"]) -> np.datetime64:
        """The snapshot that serves when a window starts (`final`: now), UTC."""
        return _moment(self.facts["snapshots"][split])


def _moment(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("+00:00"), "us")


def _read(folder: Path, columns: list[str] | None = None) -> pa.Table:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; run `python -m training features` first")
    return pq.read_table(folder, columns=columns)


def _of_splits(table: pa.Table, splits: tuple[Split, ...]) -> pa.Table:
    return table.filter(pa.compute.is_in(table["split"], pa.array(splits)))


def _numpy(column: pa.ChunkedArray, width: int) -> npt.NDArray[np.generic]:
    if width == 1:
        return np.asarray(column.to_numpy())
    return np.asarray(column.combine_chunks().flatten()).reshape(-1, width)


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.asarray(column.to_pandas().astype(object).where(column.to_pandas().notna(), None))


def _ints(table: pa.Table, name: str) -> Ints:
    return np.asarray(table[name].fill_null(0).to_numpy(), np.int64)


def _moments(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    return np.asarray(column.cast(pa.timestamp("us")).to_numpy(), "datetime64[us]")
