"""Training the two towers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from feature_repo.vectors import Floats, Ints
from model_repository.contract import EMBEDDING_WIDTH
from training.dataset import Dataset, Pairs
from training.models.towers import Tower, TwoTower

Report = Callable[[str, int, int], None]
Judge = Callable[[TwoTower], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """Hyperparameters; `epochs` is the most, early stopping may take fewer."""

    epochs: int = 4
    patience: int = 2
    batch: int = 512
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    seed: int = 1

    def __post_init__(self) -> None:
        if self.batch < 2 or self.epochs < 1:
            raise ValueError(f"batch {self.batch} must be >= 2 and epochs {self.epochs} >= 1")


def train(
    dataset: Dataset, pairs: Pairs, config: TowerConfig, judge: Judge | None, report: Report
) -> tuple[TwoTower, int]:
    """Train on `pairs`; returns the towers, in eval mode, and the epochs that were best.

    `judge` scores the towers after each epoch (higher is better) and stops them early; without it every epoch runs.
    """
    torch.manual_seed(config.seed)
    model = TwoTower()
    model.user.encoder.fit(dataset.users.rows[np.unique(pairs.users)])
    model.item.encoder.fit(dataset.items.rows[np.unique(pairs.items)])
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = config.epochs * max(1, len(pairs.users) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=steps + config.epochs)
    best = (-np.inf, config.epochs, model.state_dict())
    for epoch in range(1, config.epochs + 1):
        _epoch(model, dataset, pairs, config, epoch, optimiser, schedule)
        report("two towers", epoch, config.epochs)
        if judge is None:
            continue
        score = judge(model.eval())
        if score > best[0]:
            best = (score, epoch, {k: v.clone() for k, v in model.state_dict().items()})
        elif epoch - best[1] >= config.patience:
            break
    if judge is not None:
        model.load_state_dict(best[2])
    return model.eval(), best[1]


def _epoch(
    model: TwoTower,
    dataset: Dataset,
    pairs: Pairs,
    config: TowerConfig,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    codes, items = pd.factorize(pairs.item_ids)
    log_q = np.log(np.bincount(codes, minlength=len(items)) / len(codes)).astype(np.float32)
    model.train()
    for rows in _batches(len(codes), config.batch, config.seed * 1009 + epoch):
        loss = model.loss(
            torch.from_numpy(dataset.users.rows[pairs.users[rows]]),
            torch.from_numpy(dataset.items.rows[pairs.items[rows]]),
            torch.from_numpy(dataset.content_of(pairs.items[rows])),
            torch.from_numpy(codes[rows]),
            torch.from_numpy(log_q[codes[rows]]),
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _batches(rows: int, size: int, seed: int) -> Iterator[Ints]:
    order = np.random.default_rng(seed).permutation(rows)
    full = max(1, rows // size)  # the ragged rest is dropped: it would be a batch with easier negatives
    for start in range(0, full * size, size):
        yield order[start : start + size]


@torch.inference_mode()
def embed(tower: Tower, *inputs: Floats, chunk: int = 8192) -> Floats:
    """The tower's inputs [n, width] → [n, EMBEDDING_WIDTH]."""
    starts = range(0, len(inputs[0]), chunk)
    parts = [tower(*(torch.from_numpy(rows[i : i + chunk]) for rows in inputs)).numpy() for i in starts]
    return np.concatenate(parts) if parts else np.empty((0, EMBEDDING_WIDTH), np.float32)
