"""The two towers over ids as a ranker: `training.models.sequence`, trained on a log."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.torch import load_model, save_model

from feature_repo.vectors import Floats, Ints
from training.benchmark.ranking import Inputs, Log, Scorer
from training.models.sequence import PAD, SequenceConfig, SequenceTowers

SORTED = 20  # batches whose users are sorted by their number of actions, so that little is padded


def towers(inputs: Inputs) -> Scorer:
    """Cosine over temperature. Trained towers are kept, by what they were trained on, and found again."""
    config = SequenceConfig(**{**inputs.parameters, "seed": inputs.seed})  # type: ignore[arg-type]
    model = SequenceTowers(inputs.log.width, padded_features(inputs.problem.item_features), config)
    file = inputs.kept / f"towers-{_digest(inputs, config)}.safetensors" if inputs.kept else None
    with _one_thread():
        if file and file.is_file():
            load_model(model, file)
        else:
            model = train(inputs, config)
            _keep(model, file)
    return scorer(model.eval(), inputs.log, config)


def train(inputs: Inputs, config: SequenceConfig) -> SequenceTowers:
    """Train on the log; every epoch runs."""
    torch.manual_seed(config.seed)
    log, rng = inputs.log, np.random.default_rng(config.seed)
    model = SequenceTowers(log.width, padded_features(inputs.problem.item_features), config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)
    lengths = np.minimum(np.diff(log.bounds), config.reach + 1)
    share = torch.from_numpy(np.bincount(log.items, minlength=log.width) / max(len(log.items), 1)).float()
    steps = config.epochs * len(_batches(lengths, config.batch, np.random.default_rng(0)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=steps + 1, pct_start=0.1
    )
    for epoch in range(1, config.epochs + 1):
        for users in _batches(lengths, config.batch, rng):
            drawn = rng.choice(log.width, min(config.negatives, log.width), replace=False)
            loss = model.loss(padded(log, users, config.reach + 1), torch.from_numpy(drawn), share)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        inputs.report("two towers", epoch, config.epochs)
    return model


def scorer(model: SequenceTowers, log: Log, config: SequenceConfig) -> Scorer:
    """Scores of trained towers in eval mode."""
    with torch.inference_mode():
        vectors = model.item(torch.arange(log.width))
        temperature = model.log_temperature.exp()

    @torch.inference_mode()
    def score(users: Ints) -> Floats:
        found: Floats = (model.last(vectors, padded(log, users, config.reach)) @ vectors.T / temperature).numpy()
        return found

    return score


def padded(log: Log, users: Ints, reach: int) -> torch.Tensor:
    """The last `reach` items of users, oldest first: [b, t], PAD fills up at the end."""
    rows = [log.history(user)[-reach:] for user in users]
    table = np.full((len(rows), max(1, max(map(len, rows)))), PAD, np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)


def padded_features(features: sp.csr_matrix) -> torch.Tensor:
    """Numbers of each item's features, from 1: [items, most of an item], 0 fills up."""
    counts = np.diff(features.indptr)
    table = np.zeros((features.shape[0], int(counts.max(initial=0))), np.int64)
    places = np.arange(features.nnz) - np.repeat(features.indptr[:-1], counts)
    table[np.repeat(np.arange(features.shape[0]), counts), places] = features.indices + 1
    return torch.from_numpy(table)


def _batches(lengths: Ints, size: int, rng: np.random.Generator) -> list[Ints]:
    """Users with two actions or more, in batches of like lengths, batches in random order."""
    order = rng.permutation(np.flatnonzero(lengths > 1))
    batches: list[Ints] = []
    for start in range(0, len(order), SORTED * size):
        part = order[start : start + SORTED * size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + size] for i in range(0, len(part), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _digest(inputs: Inputs, config: SequenceConfig) -> str:
    said = json.dumps({field.name: getattr(config, field.name) for field in fields(config)}, sort_keys=True)
    features = inputs.problem.item_features
    parts = (inputs.log.items, inputs.log.bounds, features.indices, features.indptr)
    return hashlib.sha256(b"".join([said.encode(), *(np.ascontiguousarray(p).tobytes() for p in parts)])).hexdigest()[
        :16
    ]


def _keep(model: SequenceTowers, file: Path | None) -> None:
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    save_model(model, str(draft))
    draft.rename(file)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The batches are small: threads would wait for each other, and another number of them would sum otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
