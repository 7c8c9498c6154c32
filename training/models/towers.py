"""The two towers: 256-ReLU-BatchNorm-Dropout, 128-ReLU, 128, L2-normalised, over a feature group's columns.

A tower takes the raw columns of `feature_repo.schema`, in order: scalars are compressed by sign·log1p and
standardised, codes are embedded, shares go through log(1 + 50·share), near the scale a softmax over tastes has, text
stays as it is. The item tower also reads the item's content: title embedding and image. All of it is in the exported
graph.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from feature_repo.feature import Kind
from feature_repo.schema import CONTENT_WIDTH, SCHEMA, Feature, Group
from feature_repo.vectors import Floats
from model_repository.contract import EMBEDDING_WIDTH
from training.models.softmax import sampled_softmax

CODE_WIDTH = 8  # columns a code is embedded into
CONTENT_HIDDEN = 64  # columns the content is projected to
DROPOUT = 0.1
SHARE_SCALE = 50.0


class FeatureEncoder(nn.Module):
    """[b, group width] raw float32 → [b, `width`] for the network."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        features = SCHEMA.group(group)
        self._codes = [f for f in features if f.kind == "code"]
        self.embeddings = nn.ModuleList(nn.Embedding(f.cardinality, CODE_WIDTH) for f in self._codes)
        scalars = _columns(features, "scalar")
        self.register_buffer("scalars", scalars)
        self.register_buffer("mean", torch.zeros(len(scalars)))
        self.register_buffer("scale", torch.ones(len(scalars)))
        self.register_buffer("shares", _columns(features, "shares"))
        self.register_buffer("vectors", _columns(features, "vector"))
        plain = sum(f.width for f in features if f.kind != "code")
        self.width = plain + CODE_WIDTH * len(self._codes)

    def fit(self, rows: Floats) -> None:
        """Set the scalars' mean and scale from rows [n, group width]."""
        squeezed = _squeeze(torch.from_numpy(rows)[:, cast(Tensor, self.scalars)])
        self.mean = squeezed.mean(0)
        self.scale = 1.0 / squeezed.std(0).clamp_min(1e-3)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode."""
        scalars = (_squeeze(rows[:, cast(Tensor, self.scalars)]) - self.mean) * self.scale
        shares = torch.log1p(SHARE_SCALE * rows[:, cast(Tensor, self.shares)].clamp_min(0.0))
        blocks = [scalars, shares, rows[:, cast(Tensor, self.vectors)]]
        for feature, embedding in zip(self._codes, self.embeddings, strict=True):
            code = rows[:, SCHEMA.offset(feature.name)].to(torch.int64)
            blocks.append(embedding(code.clamp(0, feature.cardinality - 1)))
        return torch.cat(blocks, dim=1)


class Tower(nn.Module):
    """[b, group width] → [b, EMBEDDING_WIDTH], unit length. `more`: columns a subclass adds to the encoded ones."""

    def __init__(self, group: Group, more: int = 0) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(group)
        self.layers = nn.Sequential(
            nn.Linear(self.encoder.width + more, 256),
            nn.ReLU(),
            nn.BatchNorm1d(256),
            nn.Dropout(DROPOUT),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, EMBEDDING_WIDTH),
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Embed."""
        return nn.functional.normalize(self.layers(self.encoder(rows)), dim=1)


class ItemTower(Tower):
    """[b, ITEM_WIDTH] and the content [b, CONTENT_WIDTH] → [b, EMBEDDING_WIDTH], unit length."""

    def __init__(self) -> None:
        super().__init__("item", CONTENT_HIDDEN)
        self.content = nn.Sequential(nn.Linear(CONTENT_WIDTH, CONTENT_HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT))

    def forward(self, rows: Tensor, content: Tensor) -> Tensor:  # type: ignore[override]
        """Embed; content has unit length, so its columns are scaled to the others' size."""
        said = self.content(content * CONTENT_WIDTH**0.5)
        return nn.functional.normalize(self.layers(torch.cat([self.encoder(rows), said], dim=1)), dim=1)


class TwoTower(nn.Module):
    """User and item tower with the learnable temperature of their softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.user = Tower("user")
        self.item = ItemTower()
        self.log_temperature = nn.Parameter(torch.tensor(np.log(0.1), dtype=torch.float32))

    def loss(self, users: Tensor, items: Tensor, contents: Tensor, item_ids: Tensor, log_q: Tensor) -> Tensor:
        """In-batch sampled softmax with logQ correction.

        users [b, U], items [b, I] with contents [b, C]: the positive pairs; item_ids [b] integers; log_q [b]: log
        sampling probability of each item. Another row's item that is the same item is no negative.
        """
        similarity = self.user(users) @ self.item(items, contents).T
        same = (item_ids[:, None] == item_ids[None, :]) & ~torch.eye(len(item_ids), dtype=torch.bool)
        return sampled_softmax(similarity, self.log_temperature, log_q, torch.arange(len(item_ids)), same)


def _columns(features: tuple[Feature, ...], kind: Kind) -> Tensor:
    """Columns of the features of a kind: [n] int64."""
    columns = [SCHEMA.offset(f.name) + n for f in features if f.kind == kind for n in range(f.width)]
    return torch.tensor(columns, dtype=torch.int64)


def _squeeze(values: Tensor) -> Tensor:
    return torch.sign(values) * torch.log1p(torch.abs(values))
