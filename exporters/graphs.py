"""Gates for the ONNX graphs: each against the torch module it came from."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model

from exporters.errors import GateError
from feature_repo.schema import CONTEXT_WIDTH, ITEM_WIDTH, USER_WIDTH
from feature_repo.vectors import ITEM_DEFAULTS, USER_DEFAULTS, Floats
from training.lines import ASSEMBLE, ITEM_TOWER, USER_TOWER, WEIGHTS
from training.models.assemble import Assembler
from training.models.onnx import run, session
from training.models.towers import TwoTower

TOWER_TOLERANCE = 1e-5


def load_towers(folder: Path) -> TwoTower:
    """The line's towers from their weights, in eval mode."""
    towers = TwoTower()
    load_model(towers, str(folder / WEIGHTS))
    return towers.eval()


def gate_graphs(folder: Path, users: Floats, items: Floats) -> dict[str, float]:
    """Largest difference of each graph from its module, over real, default and extreme rows. Raises GateError."""
    towers = load_towers(folder)
    users, items = _with_extremes(users, USER_DEFAULTS), _with_extremes(items, ITEM_DEFAULTS)
    with torch.inference_mode():
        user_vectors = towers.user(torch.from_numpy(users)).numpy()
        item_vectors = towers.item(torch.from_numpy(items)).numpy()
    found_users = _run(folder / USER_TOWER, {"user_features": users})
    found_items = _run(folder / ITEM_TOWER, {"item_features": items})
    return {
        "user_tower": _gate(USER_TOWER, found_users, user_vectors, TOWER_TOLERANCE),
        "item_tower": _gate(ITEM_TOWER, found_items, item_vectors, TOWER_TOLERANCE),
        "assemble": _gate_assemble(folder / ASSEMBLE),
    }


def _gate_assemble(path: Path) -> float:
    rng = np.random.default_rng(0)
    worst = 0.0
    for n, k in ((1, 500), (1, 1), (7, 3)):
        inputs = {
            "user_features": rng.normal(size=(n, USER_WIDTH)) * 50,
            "context_features": rng.normal(size=(n, CONTEXT_WIDTH)),
            "similarity": rng.normal(size=(n, k)),
            "item_features": rng.normal(size=(n, k, ITEM_WIDTH)) * 50,
        }
        arrays = {name: value.astype(np.float32) for name, value in inputs.items()}
        arrays["item_features"][0, 0, 3], arrays["similarity"][0, 0] = np.nan, np.inf
        with torch.inference_mode():
            expected = Assembler()(*(torch.from_numpy(a) for a in arrays.values())).numpy()
        worst = max(worst, _gate(ASSEMBLE, _run(path, arrays), expected, 0.0))
    return worst


def _run(path: Path, inputs: dict[str, Floats]) -> Floats:
    try:
        return run(session(path), inputs)
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise GateError(f"{path.name}: ONNX Runtime refuses it: {error}") from None


def _with_extremes(rows: Floats, default: Floats) -> Floats:
    return np.concatenate([rows, default[None], np.zeros_like(default)[None], np.full_like(default, 1e6)[None]])


def _gate(name: str, found: Floats, expected: Floats, tolerance: float) -> float:
    if found.shape != expected.shape or (np.isnan(found) != np.isnan(expected)).any():
        raise GateError(f"{name}: shape {found.shape} or NaN pattern differs from torch {expected.shape}")
    same = (found == expected) | np.isnan(found)
    difference = float(np.max(np.abs(found[~same] - expected[~same]), initial=0.0))
    if difference > tolerance:
        raise GateError(f"{name}: differs from torch by {difference:.2e}, limit {tolerance:.0e}")
    return difference
