"""Two towers over ids: the user tower pools the embeddings of what the user did last, the item tower adds the item's
features to its own embedding. Both end in vectors of unit length, as the towers of `training.models.towers` do.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.models.softmax import log_mixed, sampled_softmax

PAD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceConfig:
    """Hyperparameters. `whole`: the user is all he did but the target, in no order; else what came before it."""

    width: int = 64
    reach: int = 50  # actions a user is known by, the last ones
    whole: bool = False
    epochs: int = 8
    batch: int = 128  # users
    negatives: int = 512  # uniform ones, beside the batch's items
    learning_rate: float = 3e-3
    dropout: float = 0.2  # of pooled embeddings
    hidden_dropout: float = 0.5
    temperature: float = 0.07
    seed: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.batch, self.negatives) < 1 or self.reach < 2:
            raise ValueError(f"{self}: width, epochs, batch and negatives must be >= 1, reach >= 2")


class SequenceTowers(nn.Module):
    """Towers of `items` items; `features` [items, m] numbers each item's features from 1, 0 fills up."""

    features: Tensor

    def __init__(self, items: int, features: Tensor, config: SequenceConfig) -> None:
        super().__init__()
        width, kinds = config.width, int(features.max()) + 1 if features.numel() else 1
        self.whole = config.whole
        self.register_buffer("features", features)
        self.ids = nn.Embedding(items, width)
        self.kinds = nn.EmbeddingBag(kinds, width, mode="mean", padding_idx=0)
        for table in (self.ids, self.kinds):
            nn.init.normal_(table.weight, std=0.1)
        self.decay = nn.Parameter(torch.tensor(0.5))  # logit of what an action weighs against the one after it
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(config.hidden_dropout), nn.Linear(2 * width, width)
        )
        self.log_temperature = nn.Parameter(torch.tensor(np.log(config.temperature), dtype=torch.float32))

    def item(self, numbers: Tensor) -> Tensor:
        """[n] → [n, width], unit length."""
        rows = self.ids(numbers)
        if self.features.shape[1]:
            rows = rows + self.kinds(self.features[numbers])
        return nn.functional.normalize(rows, dim=1)

    def user(self, vectors: Tensor, actions: Tensor) -> Tensor:
        """Actions [b, t], places in `vectors` [n, width], PAD fills up at the end → the user as of each: [b, t, width].

        As of action i the user is what he did up to and with i, or, where `whole`, all he did but i.
        """
        there = (actions >= 0).unsqueeze(2)
        rows = self.dropout(vectors[actions.clamp_min(0)] * there * vectors.shape[1] ** 0.5)
        pooled = self._others(rows, there) if self.whole else self._past(actions.shape[1]) @ rows
        return nn.functional.normalize(pooled + self.hidden(pooled), dim=2)

    def last(self, vectors: Tensor, actions: Tensor) -> Tensor:
        """The user after all of his actions [b, t]: [b, width]."""
        there = (actions >= 0).unsqueeze(2)
        if not self.whole:
            return self.user(vectors, actions)[torch.arange(len(actions)), (there.sum((1, 2)) - 1).clamp_min(0)]
        rows = vectors[actions.clamp_min(0)] * there * vectors.shape[1] ** 0.5
        pooled = rows.sum(1) / there.sum(1).clamp_min(1)
        return nn.functional.normalize(pooled + self.hidden(pooled), dim=1)

    def loss(self, actions: Tensor, drawn: Tensor, share: Tensor) -> Tensor:
        """Mixed negatives, logQ correction: actions [b, t], `drawn` [m] uniform items, `share` [items] of actions."""
        there = actions >= 0
        needed = torch.unique(torch.cat([actions[there], drawn]))
        vectors = self.item(needed)
        places = torch.where(there, torch.searchsorted(needed, actions.clamp_min(0)), PAD)
        users = self.user(vectors, places)
        users, targets = (
            (users[there], places[there]) if self.whole else (users[:, :-1][there[:, 1:]], places[:, 1:][there[:, 1:]])
        )
        log_q = log_mixed(share[needed], len(targets), len(drawn) / len(share))
        return sampled_softmax(users @ vectors.T, self.log_temperature, log_q, targets)

    def _past(self, steps: int) -> Tensor:
        """Weights [t, t] of actions up to each, decaying with their age; a row sums to 1."""
        age = torch.arange(steps)[:, None] - torch.arange(steps)[None, :]
        weights = (torch.sigmoid(self.decay) ** age.clamp_min(0)).tril()
        return weights / weights.sum(1, keepdim=True)

    @staticmethod
    def _others(rows: Tensor, there: Tensor) -> Tensor:
        """The mean of all rows but each."""
        return (rows.sum(1, keepdim=True) - rows) / (there.sum(1, keepdim=True) - 1).clamp_min(1)
