"""One absolute deadline of a request; every stage gets min(its cap, what is left). Pure: the clock is passed in."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import LateError

Clock = Callable[[], float]
LEAST = 0.001  # seconds; starting a remote call with less only wastes the peer's time


@dataclass(frozen=True, slots=True)
class Deadline:
    """`expires` is on the monotonic clock, in seconds, so that a clock jump moves nothing."""

    total: float
    expires: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> "Deadline":
        """The deadline `seconds` from now."""
        return cls(seconds, clock() + seconds, clock)

    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires - self.clock())

    def allow(self, cap: float, reserve: float = 0.0) -> float:
        """Seconds a stage may take; `cap` and `reserve` are shares of the whole. Raises LateError when too few."""
        seconds = min(cap * self.total, self.left() - reserve * self.total)
        if seconds < LEAST:
            raise LateError
        return seconds
