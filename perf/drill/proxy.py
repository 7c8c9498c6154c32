"""A TCP proxy that breaks on demand, in front of a real server: it refuses, swallows or delays."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from deploy.local.processes.ports import free_port

HOST = "127.0.0.1"
PATIENCE_S = 5.0
CHUNK = 1 << 16


class TcpProxy:
    """`port` leads to the target while nothing is broken; every method takes effect before it returns."""

    def __init__(self, target_port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.port = free_port(HOST)
        self._target_port = target_port
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._delay_s = 0.0

    def allow(self) -> None:
        """Pass everything on at once. What was swallowed arrives now, as TCP would send it again."""
        self._call(self._allow())

    def refuse(self) -> None:
        """Connections are reset and new ones refused."""
        self._call(self._refuse())

    def swallow(self) -> None:
        """Connections stay open and new ones are accepted, but not a byte comes through."""
        self._call(self._swallow())

    def delay(self, seconds: float) -> None:
        """Every piece of an answer comes `seconds` later."""
        self._delay_s = seconds

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _allow(self) -> None:
        self._delay_s = 0.0
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _swallow(self) -> None:
        self._flows.clear()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer, answers=True))
        self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flows.wait()
                if answers and self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextmanager
def tcp_proxy(target_port: int) -> Iterator[TcpProxy]:
    """A proxy that allows everything, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tcp-proxy")
    thread.start()
    proxy = TcpProxy(target_port, loop)
    try:
        proxy.allow()
        yield proxy
    finally:
        proxy.allow()
        proxy.refuse()
        asyncio.run_coroutine_threadsafe(_ended(), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


async def _ended() -> None:
    """Wait for the connections' tasks."""
    others = asyncio.all_tasks() - {task for task in (asyncio.current_task(),) if task}
    await asyncio.gather(*others, return_exceptions=True)
