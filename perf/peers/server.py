"""A peer as a child process, started and stopped like the stack's own servers."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.processes.ports import listeners
from deploy.local.runtime import ApiServer
from deploy.settings import Settings


class PeerServer(ApiServer):
    """`name` is one of `perf.peers.SERVERS`; it listens on `port`, all else is the settings'."""

    start_timeout = 180.0

    def __init__(self, settings: Settings, name: str, port: int) -> None:
        super().__init__(settings.model_copy(update={"api_port": port}))
        self.name = name

    def command(self) -> Sequence[str | Path]:
        """The peer's own command, with this interpreter."""
        return [sys.executable, "-m", "perf.peers", self.name]

    def ready(self) -> bool:
        """Every worker listens, and one of them says that it is ready."""
        workers = len(os.sched_getaffinity(0))
        return len(listeners(self.settings.api_port)) >= workers and super().ready()
