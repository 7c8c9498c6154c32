"""A server that does nothing: what its answers take is the machine's and the generator's doing.

`python -m perf.drill.noop PORT` serves until it is stopped.
"""

import asyncio
import sys
from typing import cast

import uvloop

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


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
