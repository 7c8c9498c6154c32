"""One publisher at a time in a workspace. What a publisher calls may take the lock again: its process passes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import BusyError
from training.lock import HeldError, held

FILE = "publish.lock"
_ours: set[Path] = set()


@contextmanager
def publishing(settings: Settings, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the workspace's releases and runtime repository, after at most `wait_s` seconds. Raises BusyError."""
    workspace = settings.workspace.resolve()
    if workspace in _ours:
        yield
        return
    with ExitStack() as lock:
        try:
            lock.enter_context(held(workspace / FILE, wait_s))
        except HeldError as error:
            raise BusyError(
                f"another publisher is at work (pid {error.owner}); wait for it, or say --wait with the seconds to wait"
            ) from None
        _ours.add(workspace)
        lock.callback(_ours.discard, workspace)
        yield
