"""The merged forest as a Treelite checkpoint, gated against LightGBM on ordinary and on edge rows."""

from pathlib import Path

import lightgbm as lgb
import numpy as np
import treelite

from exporters.gates import check_scores
from feature_repo.vectors import Floats

# `Booster.predict` reads |x| ≤ 1e-35 as 0 (kZeroThreshold) and writes that as a threshold for "below zero"; no other
# engine does, and no feature has such a value, so the gate asks for zero itself instead.
LIGHTGBM_ZERO = 1e-30
_MAX = float(np.finfo(np.float32).max)


def export_forest(source: Path, target: Path) -> treelite.Model:
    """LightGBM text model → `checkpoint.tl`."""
    model = treelite.frontend.load_lightgbm_model(source)
    model.serialize(target)
    return model


def gate_forest(booster: lgb.Booster, checkpoint: Path, rows: Floats) -> float:
    """Largest difference between LightGBM and the checkpoint as Treelite evaluates it. Raises GateError."""
    model = treelite.Model.deserialize(checkpoint)
    expected = booster.predict(rows)
    found = np.asarray(treelite.gtil.predict(model, rows)).reshape(expected.shape)
    return check_scores("checkpoint.tl", found, expected)


def edge_rows(booster: lgb.Booster, rows: Floats, seed: int = 0) -> Floats:
    """`rows` plus rows of NaN, ±Inf, ±max, zeros, and values at and next to the forest's own thresholds."""
    rng = np.random.default_rng(seed)
    width = booster.num_feature()
    limits = np.array([np.nan, np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min, 0.0], np.float32)
    whole = np.repeat(limits[:, None], width, axis=1)
    scattered = rows[rng.integers(len(rows), size=256)].copy()
    holes = rng.random(scattered.shape) < 0.1
    scattered[holes] = rng.choice(limits, size=int(holes.sum()))
    return np.concatenate([rows, whole, scattered, _threshold_rows(booster, rows, rng)]).astype(np.float32)


def _threshold_rows(booster: lgb.Booster, rows: Floats, rng: np.random.Generator) -> Floats:
    frame = booster.trees_to_dataframe()
    splits = frame[frame["split_feature"].notna()]
    names = {name: i for i, name in enumerate(booster.feature_name())}
    chosen = splits.sample(min(len(splits), 256), random_state=0)
    result = np.repeat(rows[rng.integers(len(rows), size=len(chosen))], 3, axis=0)
    for i, (feature, threshold) in enumerate(zip(chosen["split_feature"], chosen["threshold"], strict=True)):
        at = np.float32(np.clip(threshold, -_MAX, _MAX))
        around = (at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf)))
        result[3 * i : 3 * i + 3, names[feature]] = around
    return np.where(np.abs(result) < LIGHTGBM_ZERO, np.float32(0), result)
