"""A circuit breaker: while a peer is dead nobody calls it, but for one call now and then that tries."""

import random
import time

from orchestrator.deadline import Clock
from orchestrator.errors import UnavailableError
from orchestrator.policy import BreakerPolicy


class Breaker:
    """Closed → open → half open → closed. Monotonic time; jitter keeps replicas from trying together."""

    def __init__(
        self, policy: BreakerPolicy, clock: Clock = time.monotonic, jitter: random.Random | None = None
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._jitter = jitter or random.Random()
        self._failures = 0
        self._succeeded_at = clock()
        self._opens_until = 0.0
        self._tripped = False

    @property
    def open(self) -> bool:
        """Whether a call would be refused now."""
        return self._tripped and self._clock() < self._opens_until

    def admit(self) -> None:
        """Raises UnavailableError while open. The call admitted after the pause is the only one for another pause."""
        if not self._tripped:
            return
        if self._clock() < self._opens_until:
            raise UnavailableError("breaker open")
        self._pause()

    def succeeded(self) -> None:
        """A call answered."""
        self._failures = 0
        self._tripped = False
        self._succeeded_at = self._clock()

    def failed(self) -> None:
        """A call was late, refused or lost."""
        self._failures += 1
        silent = self._clock() - self._succeeded_at >= self._policy.silent_s
        if not self._tripped and silent and self._failures >= self._policy.failures:
            self._tripped = True
            self._pause()

    def _pause(self) -> None:
        self._opens_until = self._clock() + self._policy.open_s * self._jitter.uniform(0.75, 1.25)
