"""Starting a server again that ended by itself: when, and when no more."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.local.errors import EarlyDeathError, PlatformError, PortInUseError
from deploy.local.runtime.server import Server

YOUNG_S = 10.0  # a server that ends so soon after its start has a reason that a restart does not remove
MOST_YOUNG = 3  # such ends in a row
MOST, WITHIN_S = 10, 600.0  # ends in all
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


@dataclass(slots=True)
class Ends:
    """Of one server. Pure: seconds come in, the pause before the next start goes out."""

    at: list[float] = field(default_factory=list)
    young: int = 0

    def pause(self, now: float, lived_s: float) -> float | None:
        """After one more end; None: it is not worth another start."""
        self.young = self.young + 1 if lived_s < YOUNG_S else 0
        self.at = [one for one in self.at if now - one < WITHIN_S] + [now]
        if self.young >= MOST_YOUNG or len(self.at) > MOST:
            return None
        return float(min(FIRST_PAUSE_S * 2.0 ** max(self.young, len(self.at) - 1), LONGEST_PAUSE_S))


class Keeper:
    """Of one server that is up."""

    def __init__(self, server: Server, sleep: Callable[[float], None] = time.sleep) -> None:
        self.server = server
        self.restarts = 0
        self._sleep = sleep
        self._ends = Ends()
        self._started = time.monotonic()

    def mend(self) -> None:
        """Start it again if it ended by itself. Raises PlatformError once that is no use."""
        try:
            self.server.check()
        except EarlyDeathError as death:
            self._revive(death)

    def restart(self) -> None:
        """Stop it and start it, on purpose."""
        self.server.stop()
        self.server.start()
        self._started = time.monotonic()

    def _revive(self, death: PlatformError) -> None:
        while True:
            pause = self._ends.pause(time.monotonic(), time.monotonic() - self._started)
            if pause is None:
                raise EarlyDeathError(f"{death}; given up after {self.restarts} restarts") from None
            _say(f"{death}; started again in {pause:.1f} s")
            self._sleep(pause)
            self.restarts += 1
            self._started = time.monotonic()
            try:
                self.restart()
            except PortInUseError:
                raise
            except PlatformError as error:
                death = error
            else:
                _say(f"{self.server.name} is up again")
                return


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
