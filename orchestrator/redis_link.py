"""A lean Redis client: one connection, all requests pipelined onto it, a hard timeout for each, no retries.

redis-py's asyncio client costs several times this CPU for one pipeline of three reads. A background task keeps the
connection; while it is away every call fails at once, so Redis being down costs a request nothing. A peer that stops
answering is dropped and must answer a PING in time before it is used again.

Interface: `Store`. Its fake is `orchestrator.fakes.FakeStore`.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import hiredis

from orchestrator.errors import BadAnswerError, LateError, UnavailableError
from orchestrator.link import Link

Command = tuple[str | bytes | int, ...]
Reply = Any  # bytes, int, None, list of these, or an error value
SILENT_S = 0.25  # a peer that has not answered its oldest call for so long is given up


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
    """A `Store` over one connection. Use inside a running event loop: `await start()` … `await close()`."""

    def __init__(self, url: str, connect_timeout_s: float = 0.1) -> None:
        self._address = Address.parse(url)
        self._connect_timeout_s = connect_timeout_s
        self._link = Link("redis", self._connect)

    async def start(self) -> None:
        """Returns after the first attempt to connect; Redis being away is not an error."""
        self._link.start()
        await self._link.tried(2 * self._connect_timeout_s)

    async def close(self) -> None:
        """End the connection."""
        if (wire := await self._link.close()) is not None:
            wire.drop()

    @property
    def available(self) -> bool:
        """Whether the connection stands."""
        return self._link.stands

    async def execute(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        """See `Store`."""
        return _checked(await self._link.wire().call(commands, timeout_s))

    async def _connect(self) -> "_Wire":
        async with asyncio.timeout(self._connect_timeout_s):
            loop = asyncio.get_running_loop()
            _, wire = await loop.create_connection(_Wire, self._address.host, self._address.port)
            try:
                _checked(await wire.call(self._address.greeting, self._connect_timeout_s))
            except BaseException:
                wire.drop()
                raise
        return wire


class _Wire(asyncio.Protocol):
    """One connection. Replies arrive in the order of the calls; a late call's replies are read and thrown away."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[_Waiting] = deque()
        self._transport: asyncio.Transport | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()

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
        if not self.over.done():
            self.over.set_result(None)

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
