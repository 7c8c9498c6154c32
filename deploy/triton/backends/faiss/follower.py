"""The overlay's way into a generation: a thread that reads it from Redis several times a second, onto the shelf.

It never harms what serves. It shares the interpreter with it, so a lower priority would only make it sit on the lock;
instead it works in short bites with pauses between them. While Redis is away what is known stays; whatever fails is
said once and tried again.
"""

import threading
from collections.abc import Callable, Sequence

from line import Line
from overlay import Command, Position, Read, Reply, read, run
from pace import breathe, slow_down

EVERY_S = 0.2
AWAY_S = 0.5
TIMEOUT_S = 1.0  # of a round trip
Apply = Callable[[Read], object]
Say = Callable[[str], object]


class Follower:
    """Calls `apply` with whatever is new; `start` … `stop`. `say` is told what an operator should know."""

    def __init__(self, url: str, apply: Apply, say: Say, every_s: float = EVERY_S) -> None:
        self._line = Line(url, TIMEOUT_S)
        self._apply = apply
        self._say = say
        self._every_s = every_s
        self._problem: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="overlay", daemon=True)
        self.position: Position | None = None

    def catch_up(self) -> bool:
        """Read and apply once; whether that was possible."""
        try:
            found = run(read(self.position), self._execute)
            self._apply(found)
        except Exception as error:  # the boundary: this thread must live
            self._tell(f"overlay not read, what is known stays: {type(error).__name__}: {error}")
            return False
        if found.lost:
            self._say(f"Redis lost data: it is at {found.position.sequence} again; what is known stays")
        if found.complete or found.broken:
            self._say(f"overlay at {found.position.sequence}, {found.broken} broken entries or values passed over")
        self.position = found.position
        self._tell(None)
        return True

    def start(self) -> None:
        """Go on in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; not waited for long."""
        self._stopped.set()
        self._thread.join(2 * TIMEOUT_S)
        self._line.close()

    def _execute(self, commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = self._line.execute(commands)
        breathe()
        return replies

    def _follow(self) -> None:
        slow_down()
        pause = self._every_s
        while not self._stopped.wait(pause):
            pause = self._every_s if self.catch_up() else max(AWAY_S, self._every_s)

    def _tell(self, problem: str | None) -> None:
        """Say a problem once, and once that it is over."""
        if problem is None and self._problem is not None:
            self._say("overlay is read again")
        if problem is not None and self._problem is None:
            self._say(problem)
        self._problem = problem
