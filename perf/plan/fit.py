"""Measured settings → a profile's coefficients.

For each role the CPU milliseconds are a non-negative combination of the terms it can depend on: non-negative least
squares (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23), every setting weighted by 1 ÷ what was
measured, so that the fit is of relative errors.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from perf.errors import PerfError
from perf.plan.meter import GENERATOR
from perf.plan.profile import Costs, Profile, Seen, Stored

TERMS = {
    "orchestrator": ("base", "per_1000_candidates", "per_miss"),
    "redis": ("base", "per_miss"),
    "triton": ("base", "per_1000_candidates", "per_miss"),
    "candidates": ("base", "per_1000_candidates", "per_scanned_mib"),
    "assemble": ("base", "per_1000_candidates"),
    "ranker": ("base", "per_1000_candidates", "per_million_visits"),
    "user_tower": ("per_miss",),
}
SMALLEST_MS = 0.01  # a role that took less is not weighted up


def fit(seen: Sequence[Seen], machine: dict[str, Any], stored: Stored, cores: int) -> Profile:
    """The profile of a calibration on a machine of `cores`. Raises PerfError when it tells too little."""
    needed = max(map(len, TERMS.values()))
    if len(seen) < needed:
        raise PerfError(f"{len(seen)} settings were measured; {needed} coefficients of a role need as many")
    roles = {role: _costs(role, terms, seen) for role, terms in TERMS.items()}
    whole = [sum(one.cpu_ms.values()) for one in seen]
    stack = [total - one.cpu_ms.get(GENERATOR, 0.0) for total, one in zip(whole, seen, strict=True)]
    used = [min(1.0, one.rate * ms / 1000 / left(one, cores)) for one, ms in zip(seen, whole, strict=True)]
    idle = [max(0.0, one.latency_one_client_ms - ms) for one, ms in zip(seen, stack, strict=True)]
    return Profile(
        machine=machine,
        roles=roles,
        generator_ms=round(statistics.median(one.cpu_ms.get(GENERATOR, 0.0) for one in seen), 4),
        cores_used=round(statistics.median(used), 4),
        scv=round(statistics.median(one.scv_one_client for one in seen), 4),
        overhead_ms=round(statistics.median(idle), 3),
        stored=stored,
        seen=tuple(seen),
    )


def left(one: Seen, cores: int) -> float:
    """Cores that other processes left to the stack and its generator."""
    return max(0.1, cores - one.others_cores)


def _costs(role: str, terms: Sequence[str], seen: Sequence[Seen]) -> Costs:
    measured = np.array([one.cpu_ms.get(role, 0.0) for one in seen])
    design = np.array([[one.work.terms()[term] for term in terms] for one in seen])
    weight = 1 / np.maximum(measured, SMALLEST_MS)
    coefficients, _ = nnls(design * weight[:, None], measured * weight)
    return Costs(**{term: round(float(value), 5) for term, value in zip(terms, coefficients, strict=True)})
