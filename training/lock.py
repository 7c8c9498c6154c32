"""A lock file that names its holder. The kernel gives it back however the holder ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.1


class HeldError(Exception):
    """Somebody else holds it; `owner` is their process id, as text."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"held by pid {owner}")
        self.owner = owner


@contextmanager
def held(path: Path, wait_s: float = 0.0) -> Iterator[int]:
    """Hold the lock file `path`, after at most `wait_s` seconds; yields its descriptor. Raises HeldError.

    A child that inherits the descriptor holds the lock as long as it lives.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, time.monotonic() + wait_s)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise HeldError(os.pread(descriptor, 32, 0).decode().strip() or "unknown") from None
        time.sleep(POLL_S)
