"""What a protocol and a model of it are."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Problem = TypeVar("Problem")
Parameters = Mapping[str, float | int | str]
Figures = Mapping[str, float]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says to the questions of a protocol; what rows and columns of `scores` are, the protocol says."""

    scores: npt.NDArray[Any]

    @property
    def digest(self) -> str:
        """Identity of the model by what it answers: 16 hex digits."""
        return hashlib.sha256(np.ascontiguousarray(self.scores).tobytes()).hexdigest()[:16]


Judge = Callable[[Answer], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Generic[Problem]):
    """What a model has: never a test label. `memo` is shared by all models and seeds: keys say what matters."""

    problem: Problem
    parameters: Mapping[str, Parameters]  # by model
    seed: int
    report: Report
    kept: Path | None = None  # folder of what may be kept from one run to the next
    memo: dict[Any, Any] = field(default_factory=dict)


Objective = Callable[[Parameters], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Generic[Problem]):
    """A model: how it answers and, where it has a `space`, how its parameters are judged on validation.

    `objective(given)` prepares once what all trials share. `seeded`: whether the seed changes anything.
    """

    answer: Callable[[Given[Problem]], Answer]
    objective: Callable[[Given[Problem]], Objective] | None = None
    space: Mapping[str, Sequence[float | int | str]] = field(default_factory=dict)
    defaults: Parameters = field(default_factory=dict)
    seeded: bool = False
    ours: bool = True  # False: a baseline, shown beside and never `best_ours`

    def __post_init__(self) -> None:
        if unknown := sorted(self.space.keys() - self.defaults.keys()):
            raise ValueError(f"space: {unknown[0]} has no default; add it to defaults")
        if self.space and self.objective is None:
            raise ValueError(f"space {sorted(self.space)} needs an objective")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol(Generic[Problem]):
    """A published protocol: data, models, the main metric and what others reached on it, {model: {metric: value}}."""

    name: str
    title: str
    folder: str  # of the set, inside the folder of all sets
    metric: str
    load: Callable[[Path], tuple[Problem, Judge]]
    models: Mapping[str, Model[Problem]]
    published: Mapping[str, Figures]
    reference: Mapping[str, Figures]  # simple models, run by us under the same protocol
    lower_is_better: bool = False

    def best(self, table: Mapping[str, Figures]) -> tuple[str, float] | None:
        """The model of a table with the best main metric, and its figure; None without any."""
        rows = [(name, row[self.metric]) for name, row in table.items() if self.metric in row]
        choose = min if self.lower_is_better else max
        return choose(rows, key=lambda row: row[1]) if rows else None
