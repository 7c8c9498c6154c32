"""Who listens on a TCP port, read from /proc: two Tritons on one port would silently share its traffic."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import PortInUseError

_LISTEN = "0A"


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A port a server wants, with the words that name it to a person."""

    number: int
    purpose: str
    variable: str

    def __str__(self) -> str:
        return f"port {self.number} ({self.purpose}, {self.variable})"


def refuse_occupied(ports: Iterable[Port]) -> None:
    """Raises `PortInUseError` naming every wanted port that has a listener, and the process that owns it."""
    taken = [f"{port} is in use by {owner}" for port in ports if (owner := describe_owner(port.number))]
    if taken:
        raise PortInUseError("; ".join(taken) + "; stop it or set another port")


def describe_owner(port: int) -> str | None:
    """`pid 123 (redis-server)`; None when nothing listens on the port."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    pids = sorted(_owners(inodes))
    return " and ".join(f"pid {pid} ({_name(pid)})" for pid in pids) or "a process of another user"


def listeners(port: int) -> set[int]:
    """Process ids that hold a listening socket on the port, as far as this user may see them."""
    return _owners(_listening_inodes(port))


def free_port(host: str) -> int:
    """A port nobody listens on now."""
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _lines(table)[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _owners(inodes: set[str]) -> set[int]:
    if not inodes:
        return set()
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _holds(p, wanted)}


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(_target(link) in wanted for link in (process / "fd").iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
