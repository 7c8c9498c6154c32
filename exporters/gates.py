"""The limit of a parity gate: two engines, one model, the same scores."""

import numpy as np

from exporters.errors import GateError

TOLERANCE = 1e-6


def check_scores(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; raises GateError beyond `TOLERANCE` or when a value is not finite."""
    difference = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
    if not np.isfinite(found).all() or difference > TOLERANCE:
        raise GateError(f"{name}: scores differ by {difference:.2e}, limit {TOLERANCE:.0e}")
    return difference
