"""Whether the traffic record that is followed is known to be the current one: when Redis last confirmed it.

While Redis is away, or holds no record that could be followed, the last good one stays in force. That is said once when
it has lasted `PATIENCE_S`, so that one late read is not an outage, and once when it is over.
"""

import structlog

from orchestrator.deadline import Clock

PATIENCE_S = 1.0
log = structlog.get_logger(__name__)


class Contact:
    """Bookkeeping of one follower, on a monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made_at: float | None = None
        self._lost_at: float | None = None
        self._said = False

    def lost(self, reason: str) -> None:
        """The record could not be read, or not be followed."""
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
        if not self._said and now - self._lost_at >= PATIENCE_S:
            self._said = True
            log.warning("traffic_unconfirmed", reason=reason, confirmed_seconds_ago=self.age())

    def made(self, changed: bool) -> None:
        """Redis holds the record that is followed; `changed` where it is another one than before."""
        now = self._clock()
        if self._said and self._lost_at is not None:
            log.warning("traffic_confirmed_again", after_s=round(now - self._lost_at, 3), changed=changed)
        self._made_at, self._lost_at, self._said = now, None, False

    def age(self) -> float | None:
        """Seconds since the record was confirmed; None when it never was."""
        return None if self._made_at is None else round(self._clock() - self._made_at, 3)
