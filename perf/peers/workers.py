"""A peer's worker processes, one for each core, each with a socket of its own on the port.

Of a shared socket the first worker to wake accepts whatever is waiting, and a few clients would keep one core busy.
"""

import os
import signal
import socket
import sys
from multiprocessing import get_context
from multiprocessing.connection import wait

import uvicorn

from deploy.settings import load_settings
from orchestrator.listen import OPTIONS


def serve(app: str) -> None:
    """Serve the factory `app` (module:function) until SIGTERM, SIGINT or the end of a worker, which is an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers = [get_context("spawn").Process(target=work, args=(app,)) for _ in os.sched_getaffinity(0)]
    for worker in workers:
        worker.start()
    try:
        wait([worker.sentinel for worker in workers])
        sys.exit("a worker ended by itself")
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def work(app: str) -> None:
    """One worker, as the orchestrator runs its own."""
    settings = load_settings()
    config = uvicorn.Config(app, **OPTIONS)
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((settings.host, settings.api_port))
        uvicorn.Server(config).run(sockets=[shared])
