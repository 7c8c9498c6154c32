"""What a run gave: one row for each request, and the figures that follow from them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perf.load.answer import OK, TIMEOUT, UNDEGRADED, Answer
from perf.load.schedule import Seconds
from perf.load.users import Numbers, repeats

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999, "max": 1.0}
LIMIT_MS = 100.0
LATE_MS = 5.0  # a generator this late at its own p99 measures itself
Milliseconds = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """A run without its warm-up. Rows are requests in the order they were due, times are seconds from the first.

    intended_s  when it was due
    started_s   when the generator took it up; later than intended by the generator's own lag
    sent_s      when it was written to a connection, NaN if never
    done_s      when its whole answer was there, or it was given up
    user        number of the user asked for
    answer      index into `answers`

    `answered_per_second` counts 200s that came within the window of `seconds`, whenever they were sent; `waited` the
    requests that found every connection taken; `generator_cpu_ms` is this process's CPU time per request; `zero` is the
    first due time on `time.monotonic`.
    """

    seconds: float
    intended_s: Seconds
    started_s: Seconds
    sent_s: Seconds
    done_s: Seconds
    user: Numbers
    answer: npt.NDArray[np.int16]
    answers: tuple[Answer, ...]
    answered_per_second: float
    waited: int
    generator_cpu_ms: float
    zero: float = 0.0

    def __len__(self) -> int:
        return len(self.intended_s)

    @property
    def statuses(self) -> dict[str, int]:
        """Requests by HTTP status, or `timeout`, `broken`, `malformed`."""
        return self._count([answer.status for answer in self.answers])

    @property
    def releases(self) -> dict[str, int]:
        """200s by release."""
        return self._count([answer.release for answer in self.answers])

    @property
    def degraded(self) -> dict[str, int]:
        """200s by degraded level, `none` included."""
        return self._count([answer.level for answer in self.answers])

    @property
    def latency_ms(self) -> Milliseconds:
        """From the intended send time, of 200s and of timeouts: a request without an answer took at least that long."""
        return 1000 * (self.done_s - self.intended_s)[self._timed]

    @property
    def service_ms(self) -> Milliseconds:
        """From the actual send, of the same: blind for what a request waited before it was sent."""
        chosen = self._timed & np.isfinite(self.sent_s)
        return 1000 * (self.done_s - self.sent_s)[chosen]

    @property
    def offered_per_second(self) -> float:
        """Requests due within the window."""
        return len(self) / self.seconds

    @property
    def failed_share(self) -> float:
        """Share of requests without a 200."""
        return 1 - self.statuses.get(OK, 0) / len(self) if len(self) else 0.0

    @property
    def degraded_share(self) -> float:
        """Share of 200s from a rung below the full path."""
        levels = self.degraded
        return 1 - sum(levels.get(level, 0) for level in UNDEGRADED) / sum(levels.values()) if levels else 0.0

    @property
    def generator_lag_ms(self) -> float:
        """p99 of how late the generator took up what was due."""
        return quantile(1000 * (self.started_s - self.intended_s), 0.99)

    def latency_between(self, start: float, end: float) -> Milliseconds:
        """Latencies of what was due in [start, end), in seconds from the first."""
        chosen = self._timed & (self.intended_s >= start) & (self.intended_s < end)
        return 1000 * (self.done_s - self.intended_s)[chosen]

    def goodput(self, limit_ms: float = LIMIT_MS) -> float:
        """200s within the limit, per second."""
        ok = self._is(OK) & (self.done_s - self.intended_s <= limit_ms / 1000)
        return float(ok.sum()) / self.seconds

    def as_dict(self) -> dict[str, object]:
        """The figures, rounded, for JSON."""
        return {
            "requests": len(self),
            "seconds": round(self.seconds, 3),
            "offered_per_second": round(self.offered_per_second, 1),
            "answered_per_second": round(self.answered_per_second, 1),
            "goodput_per_second": round(self.goodput(), 1),
            "statuses": self.statuses,
            "releases": self.releases,
            "degraded": self.degraded,
            "latency_ms": figures(self.latency_ms),
            "service_ms": figures(self.service_ms),
            "repeated_users": round(repeats(self.user), 4),
            "waited_for_connection": self.waited,
            "generator_cpu_ms_per_request": round(self.generator_cpu_ms, 4),
            "generator_lag_ms": round(self.generator_lag_ms, 3),
            "generator_late": self.generator_lag_ms > LATE_MS,
        }

    def save(self, path: Path) -> None:
        """Every row, as `.npz` with the names above."""
        names = [f"{one.status} {one.release} {one.level}".strip() for one in self.answers]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, intended_s=self.intended_s, started_s=self.started_s, sent_s=self.sent_s, done_s=self.done_s,
            user=self.user, answer=self.answer, answers=np.array(names),
        )  # fmt: skip

    @property
    def _timed(self) -> npt.NDArray[np.bool_]:
        return self._is(OK, TIMEOUT.status)

    def _is(self, *statuses: str) -> npt.NDArray[np.bool_]:
        return np.array([answer.status in statuses for answer in self.answers], bool)[self.answer]

    def _count(self, names: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for name, count in zip(names, np.bincount(self.answer, minlength=len(names)).tolist(), strict=True):
            counts[name] += count
        return {name: counts[name] for name in sorted(counts) if name and counts[name]}


def quantile(values: Milliseconds, share: float) -> float:
    """The smallest value that `share` of them don't exceed; 0 of none."""
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else 0.0


def figures(values: Milliseconds) -> dict[str, float]:
    """Exact quantiles and the mean; empty when there is nothing."""
    if not len(values):
        return {}
    named = {name: round(quantile(values, share), 3) for name, share in QUANTILES.items()}
    return named | {"mean": round(float(values.mean()), 3)}
