"""A line's three graphs at work: embeddings and ranker matrices, from the same ONNX files that serving runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from feature_repo.schema import CONTENT_WIDTH, CONTEXT_WIDTH, HISTORY, ITEM_WIDTH, RANKER_WIDTH, USER_WIDTH
from feature_repo.vectors import Floats, Ints
from training.dataset import Dataset, Examples
from training.lines import ASSEMBLE, ITEM_TOWER, USER_TOWER
from training.models.assemble import Assembler
from training.models.onnx import export
from training.models.session import Arrays, run, session
from training.models.towers import TwoTower

CHUNK = 16384


def export_towers(towers: TwoTower, folder: Path) -> None:
    """Write user_tower.onnx and item_tower.onnx."""
    rows: list[str | None] = ["n", None]
    user = {"user_features": torch.rand(2, USER_WIDTH)}
    item = {"item_features": torch.rand(2, ITEM_WIDTH), "item_content": torch.rand(2, CONTENT_WIDTH)}
    export(towers.user, folder / USER_TOWER, user, "user_embedding", dict.fromkeys(user, rows))
    export(towers.item, folder / ITEM_TOWER, item, "item_embedding", dict.fromkeys(item, rows))


def export_assembler(folder: Path) -> None:
    """Write assemble.onnx."""
    rows: list[str | None] = ["n", None]
    inputs = {
        "user_features": torch.rand(2, USER_WIDTH),
        "user_history": torch.ones(2, HISTORY, dtype=torch.int64),
        "context_features": torch.rand(2, CONTEXT_WIDTH),
        "item_key": torch.ones(2, 3, dtype=torch.int64),
        "similarity": torch.rand(2, 3),
        "item_features": torch.rand(2, 3, ITEM_WIDTH),
    }
    dynamic: dict[str, list[str | None]] = {
        "user_features": rows,
        "user_history": rows,
        "context_features": rows,
        "item_key": ["n", "k"],
        "similarity": ["n", "k"],
        "item_features": ["n", "k", None],
    }
    export(Assembler(), folder / ASSEMBLE, inputs, "ranker_features", dynamic)


@dataclass(frozen=True)
class Graphs:
    """The three ONNX files of a folder."""

    folder: Path

    @cached_property
    def _user_tower(self) -> ort.InferenceSession:
        return session(self.folder / USER_TOWER)

    @cached_property
    def _item_tower(self) -> ort.InferenceSession:
        return session(self.folder / ITEM_TOWER)

    @cached_property
    def _assemble(self) -> ort.InferenceSession:
        return session(self.folder / ASSEMBLE)

    def embed_users(self, rows: Floats) -> Floats:
        """[n, USER_WIDTH] → [n, EMBEDDING_WIDTH]."""
        return _chunked(lambda part: run(self._user_tower, {"user_features": rows[part]}), len(rows))

    def embed_items(self, rows: Floats, content: Floats) -> Floats:
        """[n, ITEM_WIDTH] and [n, CONTENT_WIDTH] → [n, EMBEDDING_WIDTH]."""
        return _chunked(
            lambda part: run(self._item_tower, {"item_features": rows[part], "item_content": content[part]}), len(rows)
        )

    def embed_snapshots(self, dataset: Dataset, items: Ints) -> Floats:
        """Rows of item snapshots [n] → [n, EMBEDDING_WIDTH]."""
        return _chunked(
            lambda part: self.embed_items(dataset.items.rows[items[part]], dataset.content_of(items[part])), len(items)
        )

    def assemble(
        self, users: Floats, histories: Ints, contexts: Floats, keys: Ints, similarity: Floats, items: Floats
    ) -> Floats:
        """Rows of n users, each with its context and one candidate → [n, RANKER_WIDTH]; keys and similarity are [n]."""
        inputs: Arrays = {
            "user_features": users,
            "user_history": histories,
            "context_features": contexts,
            "item_key": keys[:, None],
            "similarity": similarity[:, None],
            "item_features": items[:, None, :],
        }
        return run(self._assemble, inputs)

    def matrix(self, dataset: Dataset, examples: Examples) -> Floats:
        """The ranker's matrix of the examples: [n, RANKER_WIDTH]."""
        users, user_of = np.unique(examples.users, return_inverse=True)
        items, item_of = np.unique(examples.items, return_inverse=True)
        user_vectors = self.embed_users(dataset.users.rows[users])
        item_vectors = self.embed_snapshots(dataset, items)
        keys = dataset.keys_of(examples.items)
        result = np.empty((len(examples), RANKER_WIDTH), np.float32)
        for start in range(0, len(examples), CHUNK):
            part = slice(start, start + CHUNK)
            similarity = np.einsum("nd,nd->n", user_vectors[user_of[part]], item_vectors[item_of[part]])
            result[part] = self.assemble(
                dataset.users.rows[examples.users[part]],
                dataset.histories_of(examples, part),
                examples.context[part],
                keys[part],
                similarity.astype(np.float32),
                dataset.items.rows[examples.items[part]],
            )
        return result


def _chunked(function: Callable[[slice], Floats], rows: int) -> Floats:
    return np.concatenate([function(slice(i, i + CHUNK)) for i in range(0, max(rows, 1), CHUNK)])
