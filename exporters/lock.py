"""One publisher at a time in a workspace. The kernel gives the lock back however its holder ends.

What a publisher calls may take the lock again: a process that holds it passes.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import BusyError

FILE = "publish.lock"
POLL_S = 0.1
_held: set[Path] = set()


@contextmanager
def publishing(settings: Settings, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the workspace's releases and runtime repository, after at most `wait_s` seconds. Raises BusyError."""
    workspace = settings.workspace.resolve()
    if workspace in _held:
        yield
        return
    workspace.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workspace / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, wait_s)
        _held.add(workspace)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        _held.discard(workspace)
        os.close(descriptor)


def _acquire(descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                owner = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
                raise BusyError(
                    f"another publisher is at work (pid {owner}); wait for it, or say --wait with the seconds to wait"
                ) from None
        time.sleep(POLL_S)
