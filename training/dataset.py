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

from feature_repo.context import context_arrays
from feature_repo.recent import merged
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, Ints
from training.content import basis
from training.errors import DataError
from training.tables import Contents, Snapshots, histories, ints, moments, read, recents, texts

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Positive (user, item) pairs: ids, and rows into the snapshots."""

    user_ids: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    users: Ints
    items: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Impressions with their labels; `request` numbers the list each row was shown in, rows of a list adjoin.

    `recent` holds what the user did between his snapshot and the row's moment: lists of actions, None for nothing.
    """

    request: Ints
    users: Ints
    items: Ints
    context: Floats
    position: Ints
    grade: Ints
    clicked: Ints
    purchased: Ints
    sampling_rate: Floats
    recent: npt.NDArray[np.object_] | None = None

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

    @cached_property
    def histories(self) -> Ints:
        """History of each user snapshot: [n, HISTORY]."""
        return histories(self.folder / "user_snapshots")

    def histories_of(self, examples: Examples, part: slice) -> Ints:
        """What a request had as the user's history, for a part of the examples: [m, HISTORY]."""
        users = examples.users[part]
        rows = self.histories[users]
        if examples.recent is None:
            return rows
        for place, actions in enumerate(examples.recent[part]):
            if not actions:
                continue
            if place and users[place] == users[place - 1] and actions is examples.recent[part][place - 1]:
                rows[place] = rows[place - 1]
            else:
                rows[place] = merged(rows[place], actions)
        return rows

    @cached_property
    def contents(self) -> Contents:
        """Contents and keys by item."""
        return Contents.read(self.folder / "item_content")

    @cached_property
    def _content_rows(self) -> Ints:
        return self.contents.find(self.items.ids)

    def content_of(self, items: Ints) -> Floats:
        """Content of item snapshots: [n, CONTENT_WIDTH]."""
        return self.contents.rows[self._content_rows[items]]

    def keys_of(self, items: Ints) -> Ints:
        """Keys of item snapshots: [n]."""
        return self.contents.keys[self._content_rows[items]]

    def pairs(self, *splits: Split) -> Pairs:
        """Retrieval pairs of the splits, in time order."""
        table = read(
            self.folder / "pairs", ["user_id", "item_id", "timestamp", "split", "user_snapshot", "item_snapshot"]
        )
        table = _of_splits(table, splits).sort_by(
            [("timestamp", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")]
        )
        users, items = texts(table["user_id"]), texts(table["item_id"])
        return Pairs(
            user_ids=users,
            item_ids=items,
            users=self.users.find(users, moments(table["user_snapshot"])),
            items=self.items.find(items, moments(table["item_snapshot"])),
        )

    def examples(self, *splits: Split) -> Examples:
        """Ranking examples of the splits, list by list."""
        table = _of_splits(read(self.folder / "examples"), splits)
        table = table.sort_by([("request_id", "ascending"), ("position", "ascending"), ("item_id", "ascending")])
        said = ("device", "country", "language", "time_zone", "placement", "referrer")
        columns = {name: texts(table[name]) for name in said}
        position = ints(table, "position")
        users = self.users.find(texts(table["user_id"]), moments(table["user_snapshot"]))
        context = context_arrays(
            moments(table["timestamp"]),
            system=texts(table["os"]),
            session_depth=ints(table, "session_depth"),
            position=position,
            **columns,
        )
        for name in ("country", "language"):  # as serving does: who does not say is at home
            silent = pd.isna(columns[name])
            context[silent, SCHEMA.offset(f"context_{name}")] = self.users.rows[
                users[silent], SCHEMA.offset(f"user_{name}")
            ]
        return Examples(
            request=pd.factorize(texts(table["request_id"]))[0].astype(np.int64),
            users=users,
            items=self.items.find(texts(table["item_id"]), moments(table["item_snapshot"])),
            context=context,
            position=position,
            grade=ints(table, "grade"),
            clicked=ints(table, "clicked"),
            purchased=ints(table, "purchased"),
            sampling_rate=table["sampling_rate"].to_numpy().astype(np.float32),
            recent=recents(table),
        )

    @cached_property
    def vocabulary_digest(self) -> str:
        """SHA-256 of vocabulary and content bases: what codes and text components mean."""
        words = (self.folder / "vocabulary.json").read_bytes()
        return hashlib.sha256(words + basis.digest(self.folder).encode()).hexdigest()

    @cached_property
    def codes(self) -> dict[str, Any]:
        """Vocabulary and the digest of the content bases: what a line has to know to be computed for again."""
        words: dict[str, Any] = json.loads((self.folder / "vocabulary.json").read_text())
        return words | {"bases": basis.digest(self.folder)}

    def keeps_codes_of(self, facts: dict[str, Any]) -> bool:
        """Whether all codes that a line was trained on, by its facts, mean the same here; there may be more of them."""
        if facts["vocabulary"] == self.vocabulary_digest:
            return True
        known = facts.get("codes")
        return known is not None and all(_begins(self.codes[name], known[name]) for name in known)

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


def _begins(now: list[Any] | str, before: list[Any] | str) -> bool:
    """Names go on where they ended before; price edges and the digest of the bases are all or nothing."""
    names = isinstance(before, list) and all(isinstance(name, str) for name in before)
    return now[: len(before)] == before if names else now == before


def _moment(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("+00:00"), "us")


def _of_splits(table: pa.Table, splits: tuple[Split, ...]) -> pa.Table:
    return table.filter(pa.compute.is_in(table["split"], pa.array(splits)))
