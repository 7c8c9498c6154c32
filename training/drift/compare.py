"""Every column against its reference, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from feature_repo.vectors import Floats
from training.drift.psi import Doubles, Status, noise, psi, shares, status_of
from training.drift.reference import SCORES, UNIT_OF, Columns, Frozen, Reference, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One column: its PSI, what chance alone would show, and its shares now and then, bin by bin."""

    name: str
    kind: Literal["feature", "score"]
    psi: float
    noise: float
    reference: Frozen
    current: Doubles

    @property
    def status(self) -> Status:
        """What its PSI says."""
        return status_of(self.psi)


def against(reference: Reference, columns: Columns) -> list[Drift]:
    """Every feature and score of the reference, by falling PSI. Raises KeyError for a column that is not there."""
    features = [
        _drift(name, "feature", frozen, columns.features[name], _independent(UNIT_OF[name], reference, columns))
        for name, frozen in reference.features.items()
    ]
    scores = [
        _drift(name, "score", frozen, columns.scores[name], _independent(SCORES, reference, columns))
        for name, frozen in reference.scores.items()
    ]
    return sorted([*features, *scores], key=lambda drift: (-drift.psi, drift.name))


def overall(drifts: Sequence[Drift]) -> Status:
    """The worst column's status."""
    return status_of(max(drift.psi for drift in drifts))


def figures(drifts: Sequence[Drift], kind: str) -> Mapping[str, Mapping[str, float | str]]:
    """What is said of each column of a kind: PSI, noise, status and the share that is missing."""
    return {
        drift.name: {
            "psi": round(drift.psi, 6),
            "noise": round(drift.noise, 6),
            "status": drift.status,
            "missing": round(float(drift.current[-1]), 6),
        }
        for drift in drifts
        if drift.kind == kind
    }


def _independent(unit: Unit, reference: Reference, columns: Columns) -> tuple[float, float]:
    return columns.independent[unit], reference.independent[unit]


def _drift(
    name: str, kind: Literal["feature", "score"], frozen: Frozen, values: Floats, independent: tuple[float, float]
) -> Drift:
    current = shares(frozen.bins, values)
    held = int(((frozen.shares > 0) | (current > 0)).sum())
    return Drift(
        name=name,
        kind=kind,
        psi=psi(current, frozen.shares),
        noise=noise(held, *independent),
        reference=frozen,
        current=current,
    )
