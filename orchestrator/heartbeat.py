"""What an orchestrator says of itself: which releases it may still call, and how they do.

Retiring a release waits for it, and the guard judges by it.
The key expires, so a killed orchestrator stops counting; `instance` is new at every start, so tallies only grow.
"""

import secrets
import time
from contextlib import suppress

from model_repository.traffic import HEARTBEAT_TTL_S, Heartbeat, heartbeat_key
from orchestrator.errors import StageError
from orchestrator.outcomes import OUTCOMES
from orchestrator.redis_link import Store
from orchestrator.tallies import TALLIES
from orchestrator.traffic import TrafficFollower

TIMEOUT_S = 0.25


class Pulse:
    """Writes the heartbeat of this process. A Redis that is away costs nothing but the beat."""

    def __init__(self, store: Store, traffic: TrafficFollower) -> None:
        self._store = store
        self._traffic = traffic
        self.instance = secrets.token_hex(8)

    async def beat(self) -> None:
        """Write it once."""
        content = self._heartbeat().model_dump_json()
        with suppress(StageError):
            await self._store.execute(
                [("SET", heartbeat_key(self.instance), content.encode(), "EX", HEARTBEAT_TTL_S)], TIMEOUT_S
            )

    async def end(self) -> None:
        """This process calls nothing any more."""
        with suppress(StageError):
            await self._store.execute([("DEL", heartbeat_key(self.instance))], TIMEOUT_S)

    def _heartbeat(self) -> Heartbeat:
        plans = self._traffic.in_use()
        releases = {number for plan in plans for number in plan.record.carried}
        listed = {number for plan in plans for number in plan.record.listed}
        TALLIES.keep(listed)
        OUTCOMES.keep(listed)
        return Heartbeat(
            instance=self.instance,
            at=time.time(),
            sequence=plans[-1].record.sequence if plans else 0,
            releases=tuple(sorted(releases)),
            tallies=TALLIES.frozen(),
        )
