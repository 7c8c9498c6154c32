"""Taking turns: every contestant once in each round, so that what the machine does meanwhile meets all alike.

A ratio is formed within a round and then summarised, by its median and its range over the rounds.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from perf.errors import PerfError

Samples = dict[str, list[float]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, least and largest of some samples."""

    median: float
    least: float
    most: float

    def __post_init__(self) -> None:
        if not self.least <= self.median <= self.most:
            raise ValueError(f"{self}: the median is not between the least and the most")

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Raises ValueError without samples."""
        if not samples:
            raise ValueError("no samples")
        return cls(median=statistics.median(samples), least=min(samples), most=max(samples))

    def rounded(self, digits: int = 3) -> list[float]:
        """[median, least, most]."""
        return [round(value, digits) for value in (self.median, self.least, self.most)]


def take_turns(contestants: Mapping[str, Callable[[], T]], rounds: int, warm_up: int = 1) -> dict[str, list[T]]:
    """`rounds` samples of each contestant, after `warm_up` rounds that do not count."""
    samples: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(warm_up + rounds):
        for name, measure in contestants.items():
            sample = measure()
            if number >= warm_up:
                samples[name].append(sample)
    return samples


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """ours ÷ theirs of each round. Raises PerfError for a zero, ValueError for another number of rounds."""
    if not all(theirs):
        raise PerfError("a peer gave nothing in one of the rounds; see its log, or measure on a quieter machine")
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def medians(samples: Samples, digits: int = 4) -> dict[str, float]:
    """The median of each contestant."""
    return {name: round(statistics.median(values), digits) for name, values in samples.items()}
