"""A line's three graphs at work: embeddings and ranker matrices, from the same ONNX files that serving runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from feature_repo.schema import CONTEXT_WIDTH, ITEM_WIDTH, RANKER_WIDTH, USER_WIDTH
from feature_repo.vectors import Floats
from training.dataset import Dataset, Examples
from training.lines import ASSEMBLE, ITEM_TOWER, USER_TOWER
from training.models.assemble import Assembler
from training.models.onnx import export, run, session
from training.models.towers import TwoTower

CHUNK = 16384


def export_towers(towers: TwoTower, folder: Path) -> None:
    """Write user_tower.onnx and item_tower.onnx."""
    user, item = torch.rand(2, USER_WIDTH), torch.rand(2, ITEM_WIDTH)
    rows: list[str | None] = ["n", None]
    export(towers.user, folder / USER_TOWER, {"user_features": user}, "user_embedding", {"user_features": rows})
    export(towers.item, folder / ITEM_TOWER, {"item_features": item}, "item_embedding", {"item_features": rows})


def export_assembler(folder: Path) -> None:
    """Write assemble.onnx."""
    rows: list[str | None] = ["n", None]
    inputs = {
        "user_features": torch.rand(2, USER_WIDTH),
        "context_features": torch.rand(2, CONTEXT_WIDTH),
        "similarity": torch.rand(2, 3),
        "item_features": torch.rand(2, 3, ITEM_WIDTH),
    }
    dynamic: dict[str, list[str | None]] = {
        "user_features": rows,
        "context_features": rows,
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
        return _chunked(lambda part: run(self._user_tower, {"user_features": part}), rows)

    def embed_items(self, rows: Floats) -> Floats:
        """[n, ITEM_WIDTH] → [n, EMBEDDING_WIDTH]."""
        return _chunked(lambda part: run(self._item_tower, {"item_features": part}), rows)

    def matrix(self, dataset: Dataset, examples: Examples) -> Floats:
        """The ranker's matrix of the examples: [n, RANKER_WIDTH]."""
        users, user_of = np.unique(examples.users, return_inverse=True)
        items, item_of = np.unique(examples.items, return_inverse=True)
        user_vectors = self.embed_users(dataset.users.rows[users])
        item_vectors = self.embed_items(dataset.items.rows[items])
        result = np.empty((len(examples), RANKER_WIDTH), np.float32)
        for start in range(0, len(examples), CHUNK):
            part = slice(start, start + CHUNK)
            similarity = np.einsum("nd,nd->n", user_vectors[user_of[part]], item_vectors[item_of[part]])
            result[part] = run(
                self._assemble,
                {
                    "user_features": dataset.users.rows[examples.users[part]],
                    "context_features": examples.context[part],
                    "similarity": similarity[:, None].astype(np.float32),
                    "item_features": dataset.items.rows[examples.items[part]][:, None, :],
                },
            )
        return result


def _chunked(function: Callable[[Floats], Floats], rows: Floats) -> Floats:
    return np.concatenate([function(rows[i : i + CHUNK]) for i in range(0, max(len(rows), 1), CHUNK)])
