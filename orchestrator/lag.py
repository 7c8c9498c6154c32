"""Whether requests queue before anybody has looked at them: the event loop is behind, and has been for a while.

Deadlines start when a request is admitted; what it waited in the socket before that nobody counts. Once the loop has
more to do than time for, that wait grows without end, answers come late, breakers take the lateness for a dead peer,
and lower rungs only add work. So while the queue stands, whoever was kept waiting is refused at once, which is cheap. A
queue that empties now and then is no overload (CoDel: Nichols and Jacobson, "Controlling Queue Delay", 2012; for
servers: Maurer, "Fail at Scale", 2015).
"""

import asyncio
import time

from orchestrator.deadline import Clock
from orchestrator.policy import LagPolicy, Standing


class Lag:
    """`start` … `stop` inside the loop; `standing` at any time. Before the start nothing stands."""

    def __init__(self, policy: LagPolicy, clock: Clock = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._ticked = self._empty = float("inf")  # when the loop last came round, and when it last did in time
        self._stood = float("-inf")  # when a request was last refused
        self._late_rounds = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def standing(self) -> bool:
        """Whether a request that is looked at now should be refused."""
        now = self._clock()
        bounds = self._bounds(now)
        if now - self._ticked <= bounds.late_s or now - self._empty <= bounds.patience_s:
            return False
        if self._late_rounds < bounds.rounds:  # a single long pause is no queue
            return False
        self._stood = now
        return True

    def start(self) -> None:
        """Begin to look."""
        self._ticked = self._empty = self._clock()
        self._again()

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()

    def tick(self) -> None:
        """The loop came round."""
        now = self._clock()
        if now - self._ticked <= self._bounds(now).late_s:
            self._empty, self._late_rounds = now, 0
        else:
            self._late_rounds += 1
        self._ticked = now

    def _bounds(self, now: float) -> Standing:
        """Once the queue stood it is believed sooner, until it has not for a while."""
        return self._policy.again if now - self._stood < self._policy.memory_s else self._policy.first

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._policy.every_s, self._beat)

    def _beat(self) -> None:
        self.tick()
        self._again()
