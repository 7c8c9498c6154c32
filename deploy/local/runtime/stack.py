"""All servers of one workspace: started in order, watched together, stopped in reverse."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Self, TypeVar

from deploy.local.errors import PlatformError, WorkspaceInUseError
from deploy.local.processes.ports import refuse_occupied
from deploy.local.runtime.keeper import Keeper
from deploy.local.runtime.server import Server
from deploy.settings import Settings
from training.lock import HeldError, held

_S = TypeVar("_S", bound=Server)
LOCK = "stack.lock"
LOOK_S = 0.2  # between two at its servers
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stack:
    """Context manager that holds the workspace's lock and owns its servers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers: list[Server] = []
        self._keepers: dict[Server, Keeper] = {}
        self._changing = threading.RLock()
        self._lock = ExitStack()

    def refuse_occupied(self, *servers: Server) -> None:
        """Check all ports first, so that an hour of training doesn't end at an occupied one."""
        refuse_occupied([port for server in servers for port in server.ports])

    def start(self, server: _S, kept: bool = False) -> _S:
        """Start it and own it from now on; one that is `kept` is started again when it ends by itself."""
        server.start()
        self._servers.append(server)
        if kept:
            self._keepers[server] = Keeper(server)
        return server

    def restart(self, server: Server) -> None:
        """Stop and start one that is kept, on purpose."""
        with self._changing:
            self._keepers[server].restart()

    def restarts(self, server: Server) -> int:
        """How often one that is kept ended by itself."""
        return self._keepers[server].restarts

    def check(self) -> None:
        """Raises `EarlyDeathError` when one of the servers ended by itself."""
        for server in self._servers:
            server.check()

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Stay until a server dies (raises), `until()` turns true (returns) or a signal arrives (raises).

        One that is kept is started again, and raises only once that is no use.
        """
        while not until():
            self._mend()
            for server in self._servers:
                if server not in self._keepers:
                    server.check()
            time.sleep(LOOK_S)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """While the block does something else, servers that are kept are started again; what ended that is raised."""
        ended, failures = threading.Event(), list[PlatformError]()

        def attend() -> None:
            try:
                while not ended.wait(LOOK_S):
                    self._mend()
            except PlatformError as error:
                failures.append(error)

        thread = threading.Thread(target=attend, name="stack")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        for failure in failures:
            raise failure

    def _mend(self) -> None:
        with self._changing:
            for keeper in self._keepers.values():
                keeper.mend()

    def __enter__(self) -> Self:
        workspace = self._settings.workspace
        try:
            self._lock.enter_context(held(workspace / LOCK))
        except HeldError as error:
            raise WorkspaceInUseError(
                f"workspace {workspace} is in use by another stack (pid {error.owner}); stop it or set TRIDENT_HOME"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _undisturbed():
            while self._servers:
                self._servers.pop().stop()
            self._lock.close()


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block like Ctrl-C does: by `KeyboardInterrupt`."""
    before = {number: signal.signal(number, _interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not cut the shutdown short; every stop is bounded by its grace."""
    if not _in_main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
