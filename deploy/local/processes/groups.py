"""Process groups and shared memory: what a server leaves behind if nobody looks. Standard library only."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

SHM = Path("/dev/shm")  # noqa: S108
ORPHAN_GRACE = 1.0


def members(group: int) -> set[int]:
    """Living processes of the group; zombies do not count."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return {pid for pid in pids if _group_of(pid) == group}


def end_group(leader: int, grace: float) -> None:
    """SIGTERM to the leader, then SIGKILL to what is left of its group `grace` seconds later.

    Helpers that outlive their leader (Triton's stubs) get `ORPHAN_GRACE` seconds to notice.
    """
    with suppress(ProcessLookupError):
        os.kill(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while leader in members(leader) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = deadline - time.monotonic()
    if not wait_gone(leader, min(left, ORPHAN_GRACE)):
        kill_group(leader)


def kill_group(group: int) -> None:
    """SIGKILL to every member, and wait a moment for them to go."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    wait_gone(group, 5.0)


def wait_gone(group: int, timeout: float) -> bool:
    """Whether the group became empty within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def segments(prefix: str) -> list[Path]:
    """Shared-memory segments whose name starts with `prefix`."""
    return sorted(SHM.glob(f"{prefix}*")) if prefix else []


def remove_segments(prefix: str) -> None:
    """Unlink them; a process that still maps one keeps its memory until it ends."""
    for segment in segments(prefix):
        segment.unlink(missing_ok=True)


def _group_of(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[2]) if fields[0] != "Z" else None
