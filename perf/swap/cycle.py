"""What a swap cost: the requests of one cycle, cut into windows around it, and all cycles against the limit."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perf.load import Outcome
from perf.load.answer import OK, UNDEGRADED, WRONG, Answer
from perf.load.outcome import Milliseconds, quantile

FOLLOW_S = 1.0  # after which every orchestrator follows the record
FACTOR, ADDED_MS = 1.5, 20.0  # p99 during a swap may be so many times the steady one, or so much above it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cycle:
    """One swap to `release` under a load of `rate` requests/s.

    On `time.monotonic`: publishing began, it ended with all users sent there, the other release was gone.
    """

    release: int
    rate: float
    outcome: Outcome
    started: float
    published: float
    retired: float

    @property
    def publish_s(self) -> float:
        """Seconds from the start of publishing until the record sends all users there."""
        return self.published - self.started

    @property
    def retire_s(self) -> float:
        """Seconds until the other was off Triton."""
        return self.retired - self.published

    @property
    def windows(self) -> dict[str, tuple[float, float]]:
        """Seconds from the start of publishing: before it; until everybody follows; until the other is gone."""
        followed = self.publish_s + FOLLOW_S
        gone = self.publish_s + self.retire_s
        return {"steady": (-np.inf, 0.0), "swap": (0.0, followed), "retire": (followed, gone)}

    @property
    def steady_ms(self) -> Milliseconds:
        """Latencies before the swap."""
        return self.between(*self.windows["steady"])

    @property
    def swap_ms(self) -> Milliseconds:
        """From the start of publishing until everybody follows."""
        return self.between(*self.windows["swap"])

    @property
    def retire_ms(self) -> Milliseconds:
        """From then until the other is gone."""
        return self.between(*self.windows["retire"])

    def between(self, start: float, end: float) -> Milliseconds:
        """Latencies of what was due in [start, end), in seconds from the start of publishing."""
        shift = self.started - self.outcome.zero
        return self.outcome.latency_between(shift + start, shift + end)

    @property
    def mixed(self) -> int:
        """Answers that are not of the release that they name."""
        return self._count(lambda answer: answer.status == WRONG)

    @property
    def degraded(self) -> int:
        """200s from a rung below the full path."""
        return self._count(_degraded)

    def degraded_in(self, window: str) -> tuple[int, int]:
        """Those of one of the `windows`, and all of its requests."""
        shift = self.started - self.outcome.zero
        start, end = (shift + edge for edge in self.windows[window])
        due = (self.outcome.intended_s >= start) & (self.outcome.intended_s < end)
        degraded = np.array([_degraded(answer) for answer in self.outcome.answers], bool)[self.outcome.answer]
        return int((due & degraded).sum()), int(due.sum())

    @property
    def failed(self) -> int:
        """Requests without a 200."""
        return len(self.outcome) - self._count(lambda answer: answer.status == OK) - self.mixed

    def as_dict(self) -> dict[str, object]:
        """The figures, for JSON."""
        return {
            "release": self.release,
            "rate": round(self.rate, 1),
            "publish_s": round(self.publish_s, 2),
            "retire_s": round(self.retire_s, 2),
            "requests": len(self.outcome),
            "failed": self.failed,
            "mixed": self.mixed,
            "degraded": self.degraded,
            "generator_lag_ms": round(self.outcome.generator_lag_ms, 2),
            "steady_p99_ms": round(quantile(self.steady_ms, 0.99), 2),
            "swap_p99_ms": round(quantile(self.swap_ms, 0.99), 2),
            "swap_max_ms": round(quantile(self.swap_ms, 1.0), 2),
            "retire_p99_ms": round(quantile(self.retire_ms, 0.99), 2),
        }

    def _count(self, chosen: Callable[[Answer], bool]) -> int:
        counts = np.bincount(self.outcome.answer, minlength=len(self.outcome.answers)).tolist()
        return sum(n for n, answer in zip(counts, self.outcome.answers, strict=True) if chosen(answer))


def _degraded(answer: Answer) -> bool:
    return answer.status == OK and answer.level not in UNDEGRADED


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """All of them."""

    cycles: tuple[Cycle, ...]

    @property
    def rate(self) -> float:
        """Requests/s, the median of the swaps'."""
        return float(np.median([cycle.rate for cycle in self.cycles]))

    @property
    def limit_ms(self) -> float:
        """What the p99 of the median swap may be."""
        steady = self._median_p99(lambda cycle: cycle.steady_ms)
        return max(FACTOR * steady, steady + ADDED_MS)

    def as_dict(self) -> dict[str, object]:
        """The figures. A p99 is the median of those of so many windows, of the swaps as of the steady load."""
        steady = self._median_p99(lambda cycle: cycle.steady_ms)
        swap = self._median_p99(lambda cycle: cycle.swap_ms)
        failed, mixed = (sum(getattr(cycle, name) for cycle in self.cycles) for name in ("failed", "mixed"))
        return {
            "swaps": len(self.cycles),
            "failed": failed,
            "mixed": mixed,
            "p99_ratio": round(swap / steady, 3) if steady else None,
            "p99_added_ms": round(swap - steady, 2),
            "steady_p99_ms": round(steady, 2),
            "swap_p99_ms": round(swap, 2),
            "retire_p99_ms": round(self._median_p99(lambda cycle: cycle.retire_ms), 2),
            "limit_ms": round(self.limit_ms, 2),
            "passed": failed == mixed == 0 and swap <= self.limit_ms,
            "degraded": sum(cycle.degraded for cycle in self.cycles),
            "degraded_percent": {window: self._degraded_percent(window) for window in self.cycles[0].windows},
            "requests": sum(len(cycle.outcome) for cycle in self.cycles),
            "rate": round(self.rate, 1),
            "publish_s": round(float(np.median([cycle.publish_s for cycle in self.cycles])), 1),
            "retire_s": round(float(np.median([cycle.retire_s for cycle in self.cycles])), 1),
            "each": [cycle.as_dict() for cycle in self.cycles],
        }

    def _degraded_percent(self, window: str) -> float:
        counts = [cycle.degraded_in(window) for cycle in self.cycles]
        return round(100 * sum(degraded for degraded, _ in counts) / max(1, sum(due for _, due in counts)), 3)

    def _median_p99(self, window: Callable[[Cycle], Milliseconds]) -> float:
        return float(np.median([quantile(window(cycle), 0.99) for cycle in self.cycles]))
