"""One server as a child process: its own process group and log, a readiness probe, a complete stop."""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.errors import EarlyDeathError, NotReadyError, PortInUseError
from deploy.local.processes import groups
from deploy.local.processes.ports import Port, listeners, refuse_occupied
from deploy.local.processes.spawn import exit_code, finish, spawn
from deploy.local.runtime.logs import reason
from deploy.settings import ROOT, Settings, child_environment


class Server(ABC):
    """Context manager around one child. Subclasses say what to run and when it is ready."""

    name: str
    start_timeout = 60.0
    grace = 10.0
    shm_prefix = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def ports(self) -> tuple[Port, ...]:
        """Every port the server listens on."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Program and arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """One probe, bounded to about a second."""

    def not_ready_reason(self) -> str:
        """Why `ready` is still false, as well as the server says it."""
        return reason(self.log)

    def environment(self) -> dict[str, str]:
        """The child's variables."""
        return child_environment(self.settings)

    def prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """Make folders and check programs before anything starts."""

    @property
    def log(self) -> Path:
        """Where the child's stdout and stderr go; the run before is kept beside it as `.1`."""
        return self.settings.logs / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The server's own process id, which is also its group's."""
        if self._process is None:
            raise EarlyDeathError(f"{self.name} is not running")
        return self._process.pid

    def alive(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and exit_code(self._process) is None

    def start(self) -> None:
        """Start and wait until ready; on any failure nothing of it is left running."""
        refuse_occupied(self.ports)
        self.prepare()
        groups.remove_segments(self.shm_prefix)
        try:
            self._spawn()
            self._await_ready()
            self._own_ports()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the whole process group and remove its shared memory; safe to call again."""
        if self._process is not None:
            finish(self._process, self.grace)
        groups.remove_segments(self.shm_prefix)

    def check(self) -> None:
        """Raises `EarlyDeathError` with the log's reason when the server ended by itself."""
        if self._process is not None and (code := exit_code(self._process)) is not None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise EarlyDeathError(f"{self.name} ended by itself ({how}): {reason(self.log)} [{self.log}]")

    def _spawn(self) -> None:
        self._process = spawn(
            self.command(), log=self.log, folder=ROOT, variables=self.environment(), shm_prefix=self.shm_prefix
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while not self.ready():
            self.check()
            if time.monotonic() > deadline:
                waited = f"{self.name} is not ready after {self.start_timeout:.0f} s"
                raise NotReadyError(f"{waited}: {self.not_ready_reason()} [{self.log}]")
            time.sleep(0.05)
        self.check()

    def _own_ports(self) -> None:
        """Two servers that started at the same moment may both have bound a port (SO_REUSEPORT)."""
        ours = groups.members(self.pid)
        for port in self.ports:
            if others := listeners(port.number) - ours:
                raise PortInUseError(f"{port} is shared with pid {min(others)}; stop it or set another port")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
