"""Gates for the ONNX graphs: each against the torch module it came from."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model

from exporters.errors import GateError
from feature_repo.schema import CONTENT_WIDTH, CONTEXT_WIDTH, HISTORY, ITEM_WIDTH, USER_WIDTH
from feature_repo.vectors import GRADE_BITS, ITEM_DEFAULTS, USER_DEFAULTS, Floats, Ints
from training.lines import ASSEMBLE, ITEM_TOWER, USER_TOWER, WEIGHTS
from training.models.assemble import Assembler
from training.models.session import Arrays, run, session
from training.models.towers import TwoTower

TOWER_TOLERANCE = 1e-5
ASSEMBLE_TOLERANCE = 1e-6  # torch's square root, in the text cosine, is not IEEE's; every other column is bit for bit


def load_towers(folder: Path) -> TwoTower:
    """The line's towers from their weights, in eval mode."""
    towers = TwoTower()
    load_model(towers, str(folder / WEIGHTS))
    return towers.eval()


def gate_graphs(folder: Path, users: Floats, items: Floats, content: Floats) -> dict[str, float]:
    """Largest difference of each graph from its module, over real, default and extreme rows. Raises GateError.

    users [n, USER_WIDTH]; items [m, ITEM_WIDTH] with their content [m, CONTENT_WIDTH].
    """
    towers = load_towers(folder)
    users, items = _with_extremes(users, USER_DEFAULTS), _with_extremes(items, ITEM_DEFAULTS)
    content = _with_extremes(content, np.zeros(CONTENT_WIDTH, np.float32))
    with torch.inference_mode():
        user_vectors = towers.user(torch.from_numpy(users)).numpy()
        item_vectors = towers.item(torch.from_numpy(items), torch.from_numpy(content)).numpy()
    found_users = _run(folder / USER_TOWER, {"user_features": users})
    found_items = _run(folder / ITEM_TOWER, {"item_features": items, "item_content": content})
    return {
        "user_tower": _gate(USER_TOWER, found_users, user_vectors, TOWER_TOLERANCE),
        "item_tower": _gate(ITEM_TOWER, found_items, item_vectors, TOWER_TOLERANCE),
        "assemble": _gate_assemble(folder / ASSEMBLE),
    }


def _gate_assemble(path: Path) -> float:
    rng = np.random.default_rng(0)
    worst = 0.0
    for n, k in ((1, 500), (1, 1), (7, 3)):
        keys = rng.integers(-(2**63), 2**63 - 1, (n, k))
        arrays: dict[str, np.ndarray] = {
            "user_features": _normal(rng, n, USER_WIDTH) * 50,
            "user_history": _histories(rng, keys),
            "context_features": _normal(rng, n, CONTEXT_WIDTH),
            "item_key": keys,
            "similarity": _normal(rng, n, k),
            "item_features": _normal(rng, n, k, ITEM_WIDTH) * 50,
        }
        arrays["item_features"][0, 0, 3], arrays["similarity"][0, 0] = np.nan, np.inf
        with torch.inference_mode():
            expected = Assembler()(*(torch.from_numpy(a) for a in arrays.values())).numpy()
        worst = max(worst, _gate(ASSEMBLE, _run(path, arrays), expected, ASSEMBLE_TOLERANCE))
    return worst


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(size=shape).astype(np.float32)


def _histories(rng: np.random.Generator, keys: Ints) -> Ints:
    """[n, HISTORY] entries, half of them of the candidates, any grade, the last ones padding."""
    entries = rng.integers(-(2**63), 2**63 - 1, (len(keys), HISTORY))
    entries[:, ::2] = rng.choice(keys, entries[:, ::2].shape[1], axis=1)
    entries = (entries & ~GRADE_BITS) | rng.integers(0, GRADE_BITS + 1, entries.shape)
    entries[:, -5:] = 0
    return entries


def _run(path: Path, inputs: Arrays) -> Floats:
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
