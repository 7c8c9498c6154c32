"""Whether what is followed is known to be current, the traffic record or the overlay: when Redis last confirmed it.

While Redis is away, or holds nothing that could be followed, the last good state stays in force. That is said once when
it has lasted `PATIENCE_S`, so that one late read is not an outage, and once when it is over.
"""

import structlog

from orchestrator.deadline import Clock

PATIENCE_S = 1.0
log = structlog.get_logger(__name__)


class Contact:
    """Bookkeeping of one follower, on a monotonic clock."""

    def __init__(self, clock: Clock, what: str = "traffic") -> None:
        self._clock = clock
        self._what = what
        self._made_at: float | None = None
        self._lost_at: float | None = None
        self._said = False

    def lost(self, reason: str) -> None:
        """It could not be read, or not be followed."""
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
        if not self._said and now - self._lost_at >= PATIENCE_S:
            self._said = True
            log.warning(f"{self._what}_unconfirmed", reason=reason, confirmed_seconds_ago=self.age())

    def made(self, changed: bool) -> None:
        """Redis holds what is followed; `changed` where that is something else than before."""
        now = self._clock()
        if self._said and self._lost_at is not None:
            log.warning(f"{self._what}_confirmed_again", after_s=round(now - self._lost_at, 3), changed=changed)
        self._made_at, self._lost_at, self._said = now, None, False

    def age(self) -> float | None:
        """Seconds since it was confirmed; None when it never was."""
        return None if self._made_at is None else round(self._clock() - self._made_at, 3)
