"""The population stability index over frozen bins. Pure: arrays in, numbers out.

    PSI = Σ (p − q) ln(p / q)        p, q: shares of the current and of the reference rows in each bin

That is Jeffreys' divergence (1946), both Kullback-Leibler divergences added, by its name in credit scoring (Siddiqi,
Credit Risk Scorecards, 2006, which draws its limits at 0.1 and 0.25; ours are 0.1 and 0.2). To every share `EPSILON` is
added, so that an empty bin costs much but not infinitely much: 1e-4, what Evidently puts in place of an empty bin
(evidently/calculations/stattests/utils.py, `get_binned_data`).

Bins are made of the reference and never of what is compared with it. A number has its deciles; a value that holds a
tenth of the rows has a bin of its own (zero-inflated, discrete and constant columns), and what lies below the least or
above the largest reference value has one each. A code has a bin for each of its commonest values and one for every
other. What is missing or not finite has the last bin.

Two samples of n and m independent rows of one distribution reach E[PSI] ≈ (bins − 1)(1/n + 1/m): Yurdakul & Naranjo,
Statistical properties of the population stability index, 2020. `minimum_rows` keeps that below `NOISE`. Rows of one
user or item repeat what they say of it, so for its columns n and m are smaller: `independent`.
"""  # fmt: skip

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from feature_repo.vectors import Floats, Ints

Kind = Literal["number", "code"]
Status = Literal["stable", "moderate", "drifted"]
Doubles = npt.NDArray[np.float64]

MODERATE, DRIFTED = 0.1, 0.2
EPSILON = 1e-4
NOISE = 0.02
COMMONEST = 20  # codes with a bin of their own
MOST_BINS = COMMONEST + 2  # of a code; a number has at most 10 + 9 between its extremes, 2 beyond them, 1 missing
ZERO_ENDS = float(np.finfo(np.float32).tiny)  # a subnormal number equals 0 where a library flushes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Frozen bins of one column: `len(edges) + 2` of them, the last for what is missing or not finite.

    A number: bin i holds edges[i − 1] ≤ x < edges[i], open at both ends. A code: bin i holds edges[i], then one holds
    every other code. `edges` ascend.
    """

    kind: Kind
    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.edges) + 2

    def labels(self) -> list[str]:
        """What each bin holds, for a person."""
        cuts = [_text(edge) for edge in self.edges]
        if self.kind == "code":
            return [*cuts, "other", "missing"]
        if not cuts:
            return ["any", "missing"]
        return [f"< {cuts[0]}", *map(_interval, cuts, cuts[1:]), f"> {cuts[-1]}", "missing"]


def number_bins(values: Floats) -> Bins:
    """Bins of a reference column of numbers: [n]."""
    finite = np.sort(values[np.isfinite(values)].astype(np.float64))
    if not len(finite):
        return Bins(kind="number", edges=())
    deciles = np.unique(tenths(finite)[1:-1])
    held = np.searchsorted(finite, deciles, "right") - np.searchsorted(finite, deciles, "left")
    atoms = deciles[held * 10 >= len(finite)]
    edges = np.unique(np.concatenate([finite[:1], _above(deciles), atoms, _above(finite[-1:])]))
    between = np.bincount(np.searchsorted(edges, finite, "right"), minlength=len(edges))[: len(edges)] > 0
    between[0] = True  # what lies below the least value is a bin, though the reference has nothing there
    return Bins(kind="number", edges=tuple(edges[between].tolist()))


def tenths(ascending: Doubles) -> Doubles:
    """The least value, the deciles, the largest value of a sorted column: [11], each one of its values."""
    return ascending[np.maximum((np.arange(11) * len(ascending) + 9) // 10 - 1, 0)]


def code_bins(values: Floats) -> Bins:
    """Bins of a reference column of codes: [n]."""
    codes, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    commonest = codes[np.argsort(-counts, kind="stable")[:COMMONEST]]
    return Bins(kind="code", edges=tuple(np.sort(commonest).tolist()))


def shares(bins: Bins, values: Floats) -> Doubles:
    """Share of the values in each bin: [len(bins)], sums to 1. Raises ValueError without values."""
    if not len(values):
        raise ValueError("no values, so no shares")
    edges = np.asarray(bins.edges, np.float64)
    place = np.searchsorted(edges, values, "right")
    if bins.kind == "code":
        place = np.where(np.isin(values, edges), place - 1, len(edges))
    place = np.where(np.isfinite(values), place, len(edges) + 1)
    return np.bincount(place, minlength=len(bins)) / len(values)


def psi(current: Doubles, reference: Doubles) -> float:
    """PSI of two vectors of shares over the same bins; ≥ 0, 0 where they are equal, symmetric."""
    p, q = _smoothed(current), _smoothed(reference)
    return float(np.sum((p - q) * np.log(p / q)))


def status_of(value: float) -> Status:
    """What a PSI says."""
    return "stable" if value < MODERATE else "moderate" if value < DRIFTED else "drifted"


def noise(bins: int, n: float, m: float) -> float:
    """Expected PSI of two samples of n and m independent rows of one distribution."""
    return (bins - 1) * (1 / n + 1 / m)


def independent(ids: Ints) -> float:
    """How many independent rows those that share an id are worth, if they say the same: n² / Σ n(id)²; Kish 1965."""
    counts = np.unique(ids, return_counts=True)[1]
    return float(len(ids) ** 2 / np.sum(counts.astype(np.float64) ** 2))


def minimum_rows(reference: int) -> int | None:
    """Least rows whose noise beside that many reference rows is below `NOISE`; None where none is enough."""
    left = NOISE / (MOST_BINS - 1) - 1 / reference
    return math.floor(1 / left) + 1 if left > 0 else None


def _smoothed(values: Doubles) -> Doubles:
    return (values + EPSILON) / (1.0 + EPSILON * len(values))


def _above(values: Doubles) -> Doubles:
    """The next number after each: x ≥ it is x > the value, for every x of float32."""
    return np.nextafter(np.where(values == 0.0, ZERO_ENDS, values), np.inf)


def _text(edge: float) -> str:
    if 0.0 < edge < 2 * ZERO_ENDS:
        return "0"
    return f"{edge:.3g}" if abs(edge) < 1000 else f"{edge:,.0f}"


def _interval(low: str, high: str) -> str:
    return low if low == high else f"{low} – {high}"
