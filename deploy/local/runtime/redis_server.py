"""Redis for features, caches and the traffic record; its data survives a restart of the stack."""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import PlatformError
from deploy.local.processes.ports import Port
from deploy.local.runtime.server import Server


class RedisServer(Server):
    """Loopback, no append-only file; SIGTERM saves a snapshot because save points are configured."""

    name = "redis"
    grace = 30.0

    @property
    def ports(self) -> tuple[Port, ...]:
        """One."""
        return (Port(number=self.settings.redis_port, purpose="Redis", variable="TRIDENT_REDIS_PORT"),)

    @property
    def folder(self) -> Path:
        """Where the snapshot lies."""
        return self.settings.workspace / "redis"

    def prepare(self) -> None:
        """Folder and program exist."""
        if shutil.which("redis-server") is None:
            raise PlatformError("redis-server is missing; run `make setup` or apt-get install redis-server")
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        """Everything by flags: no configuration file of the machine is read."""
        options = {
            "bind": self.settings.host,
            "port": self.settings.redis_port,
            "dir": self.folder,
            "dbfilename": "trident.rdb",
            "maxmemory": self.settings.redis_memory,
            "maxmemory-policy": "volatile-lru",
            "save": "300 1",
            "appendonly": "no",
            "daemonize": "no",
            "protected-mode": "yes",
            "tcp-backlog": 511,
            "loglevel": "notice",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return ["redis-server", *flags]

    def ready(self) -> bool:
        """PING answers PONG: not while the snapshot is still being read."""
        address = (self.settings.host, self.settings.redis_port)
        try:
            with socket.create_connection(address, timeout=1.0) as link:
                link.sendall(b"PING\r\n")
                return link.recv(64).startswith(b"+PONG")
        except OSError:
            return False
