"""The application on fakes behind a real uvicorn, on a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from orchestrator.app import assemble
from orchestrator.listen import OPTIONS
from tests.orchestrator.conftest import ADMIN_KEY, World
from tests.ports import free_port

PATIENCE_S = 10.0


@contextmanager
def live(world: World) -> Iterator[int]:
    """Yields the port; the service starts and stops with it."""
    port, started = free_port(), threading.Event()
    options = OPTIONS | {"factory": False}

    async def serve() -> None:
        server = uvicorn.Server(uvicorn.Config(assemble(world.service(), key=ADMIN_KEY), port=port, **options))
        servers.append(server)
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        started.set()
        await serving

    servers: list[uvicorn.Server] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="live-api")
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        assert servers[0].started
        yield port
    finally:
        servers[0].should_exit = True
        thread.join(PATIENCE_S)
