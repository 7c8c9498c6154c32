"""How many requests may be inside Triton at once: found by trying, so that an overload shortens no request's deadline.

Additive increase while calls come back in good time, multiplicative decrease when they don't (TCP's rule), and neither
while the limit holds nobody back (RFC 7661): a slow moment far below it says nothing of it. Requests beyond it wait a
moment in order; who waits too long takes a lower rung instead of making everybody late.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from orchestrator.deadline import Clock
from orchestrator.errors import CrowdedError


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """`slow_s`: a stay longer than this means the servers are behind. Limits are numbers of requests."""

    slow_s: float = 0.045
    first: int = 16
    least: int = 2
    most: int = 1024
    shrink: float = 0.85


class Gate:
    """`await enter(timeout)` … `leave(seconds)`. Event-loop local."""

    def __init__(self, policy: GatePolicy, clock: Clock = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._shrunk_at = -1.0
        self.limit = float(policy.first)
        self.inside = 0

    async def enter(self, timeout_s: float) -> None:
        """Take a place, or raise CrowdedError after `timeout_s` seconds in the queue."""
        if self.inside < int(self.limit) and not self._waiting:
            self.inside += 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(timeout_s, _give_up, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back()
            raise
        finally:
            timer.cancel()

    def leave(self, seconds: float) -> None:
        """Give the place back and learn from how long it was held."""
        if self.inside >= int(self.limit) - 1:
            self._learn(seconds)
        self._give_back()

    def _learn(self, seconds: float) -> None:
        if seconds > self._policy.slow_s:
            self._shrink(seconds)
        else:
            self.limit = min(self.limit + 1 / self.limit, float(self._policy.most))

    def _shrink(self, seconds: float) -> None:
        """At most once for all the calls that were under way together."""
        now = self._clock()
        if now - seconds > self._shrunk_at:
            self._shrunk_at = now
            self.limit = max(self.limit * self._policy.shrink, float(self._policy.least))

    def _give_back(self) -> None:
        self.inside -= 1
        while self._waiting and self.inside < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.inside += 1
                turn.set_result(None)


def _give_up(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_exception(CrowdedError("triton"))
