"""Keep-alive HTTP/1.1 connections that cost little: an asyncio protocol around httptools' parser, a pool that grows.

An answer needs a length or chunks: one that ends with its connection counts as broken.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import cast

from httptools import HttpParserError, HttpResponseParser

from perf.load.answer import BROKEN, MALFORMED, TIMEOUT, Answer, read

FIRST_FINAL = 200  # a status below it announces another one
SWEEP_S = 0.02
IDLE_S = 2.0  # servers close idle connections after 5 s or more; a request must not meet that


class Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._status = 0  # of a whole answer, else 0
        self._keep = False
        self.transport: asyncio.Transport
        self.request: int | None = None
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._end(MALFORMED)
            return
        if self.request is None:  # it talks unasked
            self.transport.abort()
        elif self._status:
            body, status, self._status = b"".join(self._parts), self._status, 0
            self._parts.clear()
            self._pool.answered(self, status, body, self._keep)

    def connection_lost(self, _: Exception | None) -> None:
        """asyncio's."""
        self._pool.lost(self)
        self._end(BROKEN)

    def on_body(self, part: bytes) -> None:
        """httptools'."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """httptools'."""
        status = self._parser.get_status_code()
        self._status, self._keep = status if status >= FIRST_FINAL else 0, self._parser.should_keep_alive()

    def _end(self, answer: Answer) -> None:
        if self.request is not None:
            self._pool.failed(self, answer)
        self.transport.abort()


class Pool:
    """Sends requests over as many connections as it takes, up to `most`; then they wait, which `waited` counts.

    `read(number, status, body)` makes an answer of what came; `sent(number, at)` and `done(number, at, answer)` are
    told of each request, times of `time.monotonic`. Each is done exactly once, `timeout_s` after `ask` at the latest;
    one that was never sent is only done.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        most: int,
        timeout_s: float,
        sent: Callable[[int, float], None],
        done: Callable[[int, float, Answer], None],
        read: Callable[[int, int, bytes], Answer] = lambda _, status, body: read(status, body),
    ) -> None:
        self.waited = 0
        self._host, self._port, self._most, self._timeout_s = host, port, most, timeout_s
        self._sent, self._done, self._read = sent, done, read
        self._free: deque[Connection] = deque()
        self._busy: dict[Connection, None] = {}  # in the order of sending
        self._queue: deque[tuple[int, bytes, float]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def ask(self, number: int, request: bytes) -> None:
        """Send now if a connection is free, else over the next that is."""
        if self._free:
            self._send(self._free.pop(), number, request, monotonic())
            return
        self._queue.append((number, request, monotonic()))
        self.waited += self._full
        self._refill()

    async def close(self) -> None:
        """Drop every connection; nothing may be under way."""
        self._sweeper.cancel()
        self._most = 0
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in (*self._free, *self._busy):
            connection.transport.abort()
        await asyncio.sleep(0)

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self._use(connection, monotonic())

    def answered(self, connection: Connection, status: int, body: bytes, keep: bool) -> None:
        """The request of a connection has its whole answer."""
        now, number = monotonic(), self._finish(connection)
        if keep:
            self._use(connection, now)
        else:
            connection.transport.abort()
        self._done(number, now, self._read(number, status, body))

    def failed(self, connection: Connection, answer: Answer) -> None:
        """The request of a connection gets no answer."""
        self._done(self._finish(connection), monotonic(), answer)

    def lost(self, connection: Connection) -> None:
        """A connection is gone; its request, if any, is still to be finished."""
        if connection in self._free:
            self._free.remove(connection)
        self._refill()

    def _use(self, connection: Connection, now: float) -> None:
        if self._queue:
            number, request, due = self._queue.popleft()
            self._send(connection, number, request, due)
        else:
            connection.since = now
            self._free.append(connection)

    def _send(self, connection: Connection, number: int, request: bytes, due: float) -> None:
        connection.request, connection.since = number, due
        self._busy[connection] = None
        self._sent(number, monotonic())
        connection.transport.write(request)

    def _finish(self, connection: Connection) -> int:
        number, connection.request = connection.request, None
        assert number is not None
        del self._busy[connection]
        return number

    @property
    def _full(self) -> bool:
        return len(self._busy) + len(self._opening) >= self._most

    def _refill(self) -> None:
        """Open a connection for each request that waits."""
        while len(self._opening) < len(self._queue) and not self._full:
            task = self._loop.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            self._refill()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._loop.create_connection(lambda: Connection(self), self._host, self._port)
        except OSError:  # TimeoutError included
            if self._queue:
                self._done(self._queue.popleft()[0], monotonic(), BROKEN)

    def _sweep(self) -> None:
        """End what is late, close what is idle."""
        now = monotonic()
        late = now - self._timeout_s
        while self._queue and self._queue[0][2] < late:
            self._done(self._queue.popleft()[0], now, TIMEOUT)
        while self._busy and (oldest := next(iter(self._busy))).since < late:
            self.failed(oldest, TIMEOUT)
            oldest.transport.abort()
        while self._free and self._free[0].since < now - IDLE_S:
            self._free.popleft().transport.abort()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
