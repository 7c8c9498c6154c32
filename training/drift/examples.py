"""Which examples are compared: those of a window, at most `SAMPLE` of them."""

from dataclasses import dataclass, fields
from typing import get_args

import numpy as np

from feature_repo.vectors import Ints
from training.dataset import Dataset, Examples, Split
from training.errors import DataError

SAMPLE = 50_000
EVERY: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A split's window, or else what the snapshots of the last `days` days before as_of served."""

    split: Split | None = None
    days: float | None = None

    @classmethod
    def asked(cls, split: Split | None, days: float | None) -> "Window":
        """The window of what a person may ask for; test if of nothing. Raises DataError for both and for no days."""
        if split is not None and days is not None:
            raise DataError(f"--split {split} and --days {days:g} are two windows; give one of them")
        if days is not None and days <= 0:
            raise DataError(f"--days {days:g}: a window of that length holds nothing")
        return cls(split=None if days else split or "test", days=days)

    def __str__(self) -> str:
        return f"the {self.split} window" if self.split else f"the last {self.days:g} days"


def examples_of(dataset: Dataset, window: Window, seed: int) -> Examples:
    """A sample of the window's examples. Raises DataError when there is none."""
    examples = dataset.examples(window.split) if window.split else _recent(dataset, window.days or 0.0)
    if not len(examples):
        raise DataError(f"{dataset.folder}: no examples in {window}, as_of {dataset.facts['as_of']}")
    return sample(examples, seed)


def sample(examples: Examples, seed: int) -> Examples:
    """At most `SAMPLE` rows, drawn uniformly without replacement, in their order."""
    if len(examples) <= SAMPLE:
        return examples
    rows = np.random.default_rng(seed).choice(len(examples), SAMPLE, replace=False)
    return _take(examples, np.sort(rows))


def _recent(dataset: Dataset, days: float) -> Examples:
    examples = dataset.examples(*EVERY)
    served_at = dataset.users.index.get_level_values(1).to_numpy()[examples.users]
    start = dataset.boundary("as_of") - np.timedelta64(round(days * 86_400), "s")
    return _take(examples, np.flatnonzero(served_at >= start))


def _take(examples: Examples, rows: Ints) -> Examples:
    """Some of the rows; lists keep their number, so numbers may be missing."""
    return Examples(**{field.name: getattr(examples, field.name)[rows] for field in fields(examples)})
