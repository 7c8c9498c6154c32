"""A connection that is kept: made again, with growing pauses, whenever it is lost. Without it a call fails at once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

import structlog

from orchestrator.errors import LateError, StageError, UnavailableError

BACKOFF_S = (0.05, 1.0)  # first and longest pause between connection attempts
SETTLED_S = 1.0  # a connection that lasts less is no better than none: a proxy takes it, and nobody is behind
log = structlog.get_logger(__name__)


class Wire(Protocol):
    """One connection."""

    @property
    def over(self) -> "asyncio.Future[None]":
        """Done when it takes no new calls."""


W = TypeVar("W", bound=Wire)


class Link(Generic[W]):
    """`connect` makes a wire or raises StageError, OSError, TimeoutError. `name` is for errors and the log."""

    def __init__(self, name: str, connect: Callable[[], Awaitable[W]]) -> None:
        self._name = name
        self._connect = connect
        self._wire: W | None = None
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep it. Inside a running event loop."""
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._name}-keeper")

    async def tried(self, timeout_s: float) -> None:
        """Until the first attempt has ended one way or another. Raises LateError."""
        if not self._tried.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._tried.wait()
            except TimeoutError:
                raise LateError(self._name) from None

    async def close(self) -> W | None:
        """Keep it no longer; the wire, for whoever wants to end it well."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        wire, self._wire = self._wire, None
        return wire

    @property
    def stands(self) -> bool:
        """Whether there is a connection."""
        return self._wire is not None and not self._wire.over.done()

    def wire(self) -> W:
        """The connection. Raises UnavailableError while there is none."""
        wire = self._wire
        if wire is None or wire.over.done():
            raise UnavailableError(self._name)
        return wire

    async def _keep(self) -> None:
        pause = BACKOFF_S[0]
        while True:
            if await self._kept() > SETTLED_S:
                pause = BACKOFF_S[0]
            else:
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(2 * pause, BACKOFF_S[1])

    async def _kept(self) -> float:
        """Connect once. Seconds for which the connection stood."""
        try:
            self._wire = await self._connect()
        except (StageError, OSError, TimeoutError):
            self._tried.set()
            return 0.0
        if self._tried.is_set():
            log.info(f"{self._name}_back")
        self._tried.set()
        began = time.monotonic()
        await asyncio.wait([self._wire.over])
        log.warning(f"{self._name}_lost")
        return time.monotonic() - began
