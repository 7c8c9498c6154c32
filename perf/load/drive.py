"""One run: an open or a closed loop against a target.

Requests go out from a single thread on uvloop. In an open loop nothing a server does delays the next request, short
of the target's limit on connections; waiting for a connection is then part of the latency.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import uvloop

from perf.errors import PerfError
from perf.load.alarm import Alarm
from perf.load.answer import OK, WRONG, Answer, read
from perf.load.client import Pool
from perf.load.outcome import Outcome
from perf.load.recorder import Recorder
from perf.load.schedule import ClosedLoop, OpenLoop
from perf.load.target import Target
from perf.load.users import asking

LEAD_S = 0.05


def drive(target: Target, load: OpenLoop | ClosedLoop) -> Outcome:
    """Send the load and wait for the last answer. Raises PerfError when nobody answers at the start."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(target, load))


async def _drive(target: Target, load: OpenLoop | ClosedLoop) -> Outcome:
    await _reach(target)
    session = Session(target, load.seed)
    zero = monotonic() + LEAD_S + load.warm_up_s
    warm = asyncio.get_running_loop().call_later(zero - monotonic(), session.recorder.warm)
    try:
        seconds = await _send(session, load, zero)
    finally:
        warm.cancel()
        await session.pool.close()
    return session.recorder.outcome(zero, seconds, session.pool.waited)


async def _send(session: "Session", load: OpenLoop | ClosedLoop, zero: float) -> float:
    """Send everything, wait for the last answer; the seconds of the window."""
    if isinstance(load, OpenLoop):
        sender: Pacer | Clients = Pacer((load.times() + (zero - load.warm_up_s)).tolist(), session.ask)
    else:
        sender = Clients(session, zero, load)
    await sender.through
    await session.rest()
    return load.seconds if isinstance(load, OpenLoop) else min(load.seconds, monotonic() - zero)


async def _reach(target: Target) -> None:
    try:
        async with asyncio.timeout(target.timeout_s):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except OSError:
        raise PerfError(f"nobody answers at {target.url}; run `make serve` first") from None
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Session:
    """Who asks next, what became of it, and when the last answer is there."""

    def __init__(self, target: Target, seed: int) -> None:
        self.recorder = Recorder()
        self.after: Callable[[], None] = lambda: None
        self.pool = Pool(
            target.host, target.port, most=target.connections, timeout_s=target.timeout_s,
            sent=self.recorder.sent, done=self._done, read=self._read,
        )  # fmt: skip
        self._target, self._users = target, asking(len(target.users), target.skew, seed)
        self._under_way = 0
        self._idle = asyncio.Event()

    def ask(self, intended: float) -> None:
        """Send the request that was due at `intended`."""
        user = next(self._users)
        self._under_way += 1
        self.pool.ask(self.recorder.begin(user, intended), self._target.request(user))

    async def rest(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()

    def _read(self, number: int, status: int, body: bytes) -> Answer:
        answer, check = read(status, body), self._target.check
        if check is None or answer.status != OK or check(self.recorder.user_of(number), answer, body):
            return answer
        return replace(answer, status=WRONG)

    def _done(self, number: int, at: float, answer: Answer) -> None:
        self.recorder.done(number, at, answer)
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()
        self.after()


class Pacer:
    """Asks at each of `times` (ascending, `time.monotonic`); `through` is done after the last."""

    def __init__(self, times: list[float], ask: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        self.through: asyncio.Future[None] = loop.create_future()
        self._times, self._ask, self._next = times, ask, 0
        self._alarm = Alarm(loop, self._ring)
        self._alarm.at(times[0] if times else 0.0)

    def _ring(self) -> None:
        now = monotonic()
        while self._next < len(self._times) and (due := self._times[self._next]) <= now:
            self._next += 1
            self._ask(due)
        if self._next < len(self._times):
            self._alarm.at(self._times[self._next])
        else:
            self._alarm.close()
            self.through.set_result(None)


class Clients:
    """Each asks again as soon as anybody is answered; `through` is done when no more is to be sent."""

    def __init__(self, session: Session, zero: float, load: ClosedLoop) -> None:
        self.through: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session, self._zero, self._ends = session, zero, zero + load.seconds
        self._left = load.requests
        session.after = self._again
        for _ in range(load.clients):
            self._again()

    def _again(self) -> None:
        now = monotonic()
        if now >= self._ends or self._left == 0:
            if not self.through.done():
                self.through.set_result(None)
            return
        if self._left is not None and now >= self._zero:
            self._left -= 1
        self._session.ask(now)
