"""A server that does nothing, asked beside what is measured: what its answers take is the machine's and the generator's
doing.

`python -m perf.control PORT` serves until it is stopped.
"""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import uvloop

from deploy.local.processes.ports import free_port
from deploy.settings import ROOT
from perf.load import OpenLoop, Outcome, Target, drive

RATE = 50.0  # requests per second
BODY = b'{"model_version":"0","degraded":null}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class NoOp(asyncio.Protocol):
    """Answers whatever comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        del data
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """On the loopback address, for ever."""
    server = await asyncio.get_running_loop().create_server(NoOp, "127.0.0.1", port)
    await server.serve_forever()


@contextmanager
def control(host: str, seconds: float, rate: float = RATE) -> Iterator[Callable[[], Outcome]]:
    """A few requests a second to a server that does nothing, for so long; after the block, their outcome."""
    port = free_port(host)
    server = subprocess.Popen([sys.executable, "-m", "perf.control", str(port)], cwd=ROOT)
    found: list[Outcome] = []
    target, load = Target(host=host, port=port, users=["nobody"]), OpenLoop(rate=rate, seconds=seconds)
    thread = threading.Thread(target=lambda: found.append(drive(target, load)))
    try:
        _listens(host, port)
        thread.start()
        yield lambda: found[0]
        thread.join()
    finally:
        server.terminate()
        server.wait()


def _listens(host: str, port: int) -> None:
    ends = time.monotonic() + 10.0
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection((host, port), timeout=1.0):
            return
        time.sleep(0.05)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
