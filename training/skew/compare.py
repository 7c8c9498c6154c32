"""The difference of every feature and score: of how many requests, in how many, by how much at most."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from feature_repo.schema import SCHEMA
from model_repository.contract import OBJECTIVES
from training.skew.replay import Flags, Replay, unsaid
from training.skew.requests import Requests
from training.skew.scores import Scored

SCORE_TOLERANCE = 2e-6  # two runtimes' FP32, and the similarity summed in another order
HISTORY_NAME, POSITION = "user_history", "context_position"
Kind = Literal["feature", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One column: compared `rows`, `differing` of them, the largest absolute difference; of a history, in entries."""

    name: str
    kind: Kind
    rows: int
    differing: int
    largest: float

    @property
    def share(self) -> float:
        """Differing rows of those compared, 0 of none."""
        return self.differing / self.rows if self.rows else 0.0


def differences(requests: Requests, replay: Replay, scored: Scored) -> list[Difference]:
    """All columns that can be compared, the most differing first."""
    found = [*_features(requests, replay), *_scores(scored)]
    return sorted(found, key=lambda one: (-one.share, -one.largest, one.name))


def not_compared() -> Mapping[str, str]:
    """Features that are compared with nothing, and why."""
    by_scores = "the log does not hold it; a difference shows in the scores"
    reasons = {f.name: by_scores for group in ("item", "cross") for f in SCHEMA.group(group)}
    return reasons | {POSITION: "fixed at 0 when serving, by design"}


def _features(requests: Requests, replay: Replay) -> list[Difference]:
    silent, none = unsaid(requests), np.zeros(len(requests), bool)
    users = [
        _feature(f.name, requests.rows, replay.rows, SCHEMA.columns(f.name), replay.known) for f in SCHEMA.group("user")
    ]
    contexts = [
        _feature(f.name, requests.contexts, replay.contexts, SCHEMA.columns(f.name), ~silent.get(f.name, none))
        for f in SCHEMA.group("context")
        if f.name != POSITION
    ]
    return [*users, *contexts, _history(requests, replay)]


def _feature(
    name: str, served: npt.NDArray[np.float32], trained: npt.NDArray[np.float32], columns: slice, rows: Flags
) -> Difference:
    one, other = served[rows, columns], trained[rows, columns]
    gaps = np.where(one == other, 0.0, np.abs(one.astype(np.float64) - other)).max(axis=1, initial=0.0)
    return _difference(name, "feature", gaps, 0.0)


def _history(requests: Requests, replay: Replay) -> Difference:
    rows = replay.known
    gaps = (requests.histories[rows] != replay.histories[rows]).sum(axis=1).astype(float)
    return _difference(HISTORY_NAME, "feature", gaps, 0.0)


def _scores(scored: Scored) -> list[Difference]:
    gaps = np.abs(scored.served.astype(np.float64) - scored.again)
    return [_difference(name, "score", gaps[:, n], SCORE_TOLERANCE) for n, name in enumerate(OBJECTIVES)]


def _difference(name: str, kind: Kind, gaps: npt.NDArray[np.float64], tolerance: float) -> Difference:
    """A gap that is no number is one."""
    return Difference(
        name=name,
        kind=kind,
        rows=len(gaps),
        differing=int((~(gaps <= tolerance)).sum()),
        largest=float(np.nan_to_num(gaps, nan=np.inf).max(initial=0.0)),
    )
