"""A real redis-server for tests: on a port of its own, in memory, always stopped."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.ports import free_port

STARTUP_SECONDS = 10.0


@contextmanager
def redis_server(port: int | None = None) -> Iterator[int]:
    """Yields the port of a server that answers. Raises RuntimeError when the port is taken or the server dies."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server: not installed; install the package redis-server")
    chosen = port or free_port()
    if _answers(chosen):
        raise RuntimeError(f"port {chosen}: something is listening already; choose another")
    options = ("--port", str(chosen), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    process = subprocess.Popen((program, *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process, chosen)
        yield chosen
    finally:
        process.terminate()
        process.wait(STARTUP_SECONDS)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + STARTUP_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"redis-server on port {port}: did not start, exit code {process.poll()}")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
