"""Open-loop load in the background while something is broken, and what every answer said of itself."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from perf.drill.report import Report
from perf.errors import PerfError
from perf.load import OpenLoop, Outcome, Target, drive
from perf.load.answer import OK, UNDEGRADED, Answer
from perf.load.outcome import quantile

SLICE_S = 1.0  # the loop ends at the end of one


@dataclass(frozen=True, slots=True)
class Seen:
    """One 200, at `time.monotonic`."""

    at: float
    level: str
    reasons: tuple[str, ...]
    variant: str = ""

    @property
    def full(self) -> bool:
        """Whether the whole path answered."""
        return self.level in UNDEGRADED


class Load:
    """`with Load(target, rate) as load:` sends until the block ends. A 200 with fewer items than asked for is wrong."""

    def __init__(self, target: Target, rate: float, seed: int = 0) -> None:
        self.seen: list[Seen] = []
        self.outcomes: list[Outcome] = []
        self._target, self._rate, self._seed = target, rate, seed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="drill-load")
        self._error: PerfError | None = None

    def check(self, _: int, answer: Answer, body: bytes) -> bool:
        """For the target: note what the answer says, and whether it has all its items."""
        said = orjson.loads(body)
        why = tuple((said["degraded"] or {}).get("reasons", ()))
        self.seen.append(Seen(time.monotonic(), answer.level, why, said["variant"]))
        return len(said["items"]) == self._target.items

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def first(self, since: float, chosen: Callable[[Seen], bool]) -> float:
        """Seconds after `since` until the first such answer, infinity if none came."""
        return next((one.at - since for one in list(self.seen) if one.at >= since and chosen(one)), float("inf"))

    def until(self, since: float, chosen: Callable[[Seen], bool], seconds: float) -> float:
        """As `first`, waiting for it at most so long."""
        ends = time.monotonic() + seconds
        while (found := self.first(since, chosen)) == float("inf") and time.monotonic() < ends:
            time.sleep(0.02)
        return found

    def whole(self, since: float, seconds: float, streak: int = 10) -> float:
        """Seconds after `since` until the first of so many full answers in a row, waiting for them at most so long."""
        ends = time.monotonic() + seconds
        while True:
            row: list[Seen] = []
            for one in [one for one in list(self.seen) if one.at >= since]:
                row = [*row, one] if one.full else []
                if len(row) == streak:
                    return row[0].at - since
            if time.monotonic() > ends:
                return float("inf")
            time.sleep(0.05)

    def between(self, start: float, end: float) -> list[Seen]:
        """Answers that came in [start, end)."""
        return [one for one in self.seen if start <= one.at < end]

    @property
    def statuses(self) -> dict[str, int]:
        """All requests by what came of them."""
        total: Counter[str] = Counter()
        for outcome in self.outcomes:
            total.update(outcome.statuses)
        return dict(sorted(total.items()))

    @property
    def p99_ms(self) -> float:
        """From the intended send."""
        return quantile(np.concatenate([outcome.latency_ms for outcome in self.outcomes]), 0.99)

    def judge(self, report: Report) -> None:
        """Every request must have had a 200 with all its items."""
        statuses = self.statuses
        report.figures |= {
            "requests": sum(statuses.values()),
            "levels": dict(sorted(Counter(one.level for one in self.seen).items())),
            "reasons": dict(sorted(Counter(reason for one in self.seen for reason in one.reasons).items())),
            "p99_ms": round(self.p99_ms, 1),
        }
        report.expect(set(statuses) == {OK}, f"not every answer was a whole 200: {statuses}")

    def _send(self) -> None:
        target = replace(self._target, check=self.check)
        try:
            for number in count(self._seed):
                if self._ended.is_set():
                    return
                self.outcomes.append(
                    drive(target, OpenLoop(rate=self._rate, seconds=SLICE_S, warm_up_s=0.0, seed=number))
                )
        except PerfError as error:
            self._error = error
