"""A queue's drain: the same work every beat, in the background; what it is doing when it is closed it finishes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

BEAT_S = 0.05
CLOSE_S = 2.0  # a disk or a peer that hangs longer is not waited for
log = structlog.get_logger(__name__)


class Drain:
    """`start` … `close`; a turn that fails is logged, and the next one tries again."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._work = work
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to drain."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """End after one last turn."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._task is not None:
                    await self._task
                await self._turn()

    async def _run(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._closing.wait()
            if not self._closing.is_set():
                await self._turn()

    async def _turn(self) -> None:
        try:
            await self._work()
        except Exception:
            log.exception("drain_failed", drain=self._name)
