"""A lean Redis client: one connection, all requests pipelined onto it, a hard timeout for each, no retries.

redis-py's asyncio client costs several times this CPU for one pipeline of three reads. A background task keeps the
connection; while it is away every call fails at once, so Redis being down costs a request nothing. A peer that stops
answering is dropped and must answer a PING in time before it is used again.

Interface: `Store`. Its fake is `orchestrator.fakes.FakeStore`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

from orchestrator.errors import BadAnswerError, LateError, StageError, UnavailableError

Command = tuple[str | bytes | int, ...]
Reply = Any  # bytes, int, None, list of these, or an error value
BACKOFF_S = (0.05, 1.0)  # first and longest pause between connection attempts
SILENT_S = 0.25  # a peer that has not answered its oldest call for so long is given up
log = structlog.get_logger(__name__)


class Store(Protocol):
    """What the orchestrator needs of Redis."""

    async def execute(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        """One round trip. Raises UnavailableError, LateError, or BadAnswerError when a command was refused."""

    @property
    def available(self) -> bool:
        """Whether a call has a chance now."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed `redis://[user:password@]host:port/db`."""

    host: str
    port: int
    greeting: tuple[Command, ...]

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises ValueError for another scheme."""
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname:
            raise ValueError(f"expected redis://host:port/db, got scheme {parts.scheme!r}")
        greeting: list[Command] = []
        if parts.password:
            greeting.append(("AUTH", unquote(parts.username or "default"), unquote(parts.password)))
        if (database := parts.path.strip("/")) not in ("", "0"):
            greeting.append(("SELECT", int(database)))
        return cls(parts.hostname, parts.port or 6379, (*greeting, ("PING",)))


class RedisLink:
    """A `Store` over one connection. Use inside a running event loop: `start()` … `await close()`."""

    def __init__(self, url: str, connect_timeout_s: float = 0.1) -> None:
        self._address = Address.parse(url)
        self._connect_timeout_s = connect_timeout_s
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """One attempt to connect, then the keeper takes over; Redis being away is not an error."""
        with suppress(StageError, OSError, TimeoutError):
            await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="redis-keeper")

    async def close(self) -> None:
        """End the keeper and the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._wire is not None:
            self._wire.drop()

    @property
    def available(self) -> bool:
        """Whether the connection stands."""
        return self._wire is not None and not self._wire.closed.done()

    async def execute(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        """See `Store`."""
        wire = self._wire
        if wire is None or wire.closed.done():
            raise UnavailableError("redis")
        return _checked(await wire.call(commands, timeout_s))

    async def _keep(self) -> None:
        pause = BACKOFF_S[0]
        while True:
            if self._wire is not None:
                await asyncio.wait([self._wire.closed])
                self._wire = None
                log.warning("redis_lost")
            try:
                await self._connect()
                log.info("redis_back")
                pause = BACKOFF_S[0]
            except (StageError, OSError, TimeoutError):
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(2 * pause, BACKOFF_S[1])

    async def _connect(self) -> None:
        async with asyncio.timeout(self._connect_timeout_s):
            loop = asyncio.get_running_loop()
            _, wire = await loop.create_connection(_Wire, self._address.host, self._address.port)
            try:
                _checked(await wire.call(self._address.greeting, self._connect_timeout_s))
            except BaseException:
                wire.drop()
                raise
        self._wire = wire


class _Wire(asyncio.Protocol):
    """One connection. Replies arrive in the order of the calls; a late call's replies are read and thrown away."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[_Waiting] = deque()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        if self._transport is None or self._transport.is_closing():
            raise UnavailableError("redis")
        waiting = _Waiting(self._loop.create_future(), len(commands), self._loop.time())
        self._waiting.append(waiting)
        self._transport.write(b"".join([_pack(command) for command in commands]))
        timer = self._loop.call_later(timeout_s, self._late, waiting)
        try:
            return await waiting.future
        finally:
            timer.cancel()

    def _late(self, waiting: "_Waiting") -> None:
        """Fail one call. Calls behind a silent peer would pile up, so after a while the connection goes as well."""
        if not waiting.future.done():
            waiting.future.set_exception(LateError("redis"))
        if self._waiting and self._loop.time() - self._waiting[0].since > SILENT_S:
            self.drop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self._waiting and (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError:
            self.drop()

    def _take(self, reply: Reply) -> None:
        waiting = self._waiting[0]
        waiting.replies.append(reply)
        if len(waiting.replies) == waiting.wanted:
            self._waiting.popleft()
            if not waiting.future.done():
                waiting.future.set_result(waiting.replies)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                waiting.future.set_exception(UnavailableError("redis"))
        if not self.closed.done():
            self.closed.set_result(None)

    def drop(self) -> None:
        """Give the connection up; whoever waits on it fails now."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)


class _Waiting:
    """A call whose replies are still coming."""

    __slots__ = ("future", "replies", "since", "wanted")

    def __init__(self, future: "asyncio.Future[list[Reply]]", wanted: int, since: float) -> None:
        self.future = future
        self.wanted = wanted
        self.since = since
        self.replies: list[Reply] = []


def _pack(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub describes a tuple of one
    return packed


def _checked(replies: list[Reply]) -> list[Reply]:
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise BadAnswerError(f"redis: {str(reply)[:80]}")
    return replies
