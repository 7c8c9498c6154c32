"""A connection that is kept, against a peer that takes connections and ends them at once, as a proxy does alone."""

import asyncio

import pytest

from orchestrator.triton import TritonClient

pytestmark = pytest.mark.anyio


async def test_a_peer_that_hangs_up_at_once_is_tried_with_pauses():
    taken: list[asyncio.BaseTransport] = []

    class HangsUp(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            taken.append(transport)
            transport.close()

    server = await asyncio.get_running_loop().create_server(HangsUp, "127.0.0.1", 0)
    client = TritonClient(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", 1 << 20)
    await asyncio.sleep(1.0)
    assert 1 < len(taken) < 50
    await client.close()
    server.close()
