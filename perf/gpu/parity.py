"""The gate before any timing: a device that answers something else is not measured."""

import numpy as np

from feature_repo.vectors import Floats


class ParityError(Exception):
    """Scores or vectors differ from the reference by more than the stated tolerance."""


def gate(name: str, found: Floats, expected: Floats, tolerance: float) -> float:
    """Largest absolute difference. NaN must meet NaN, infinities must be the same. Raises ParityError."""
    if found.shape != expected.shape:
        raise ParityError(f"{name}: shape {found.shape}, the reference has {expected.shape}")
    if (np.isnan(found) != np.isnan(expected)).any():
        raise ParityError(f"{name}: NaN at {int((np.isnan(found) != np.isnan(expected)).sum())} other places")
    differs = (found != expected) & ~np.isnan(expected)
    difference = float(np.max(np.abs(found[differs].astype(np.float64) - expected[differs]), initial=0.0))
    if not difference <= tolerance:
        raise ParityError(f"{name}: differs by {difference:.2e}, limit {tolerance:.0e}")
    return difference
