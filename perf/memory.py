"""What a process and all it started take: resident memory (the sum of PSS, as the kernel counts) and CPU time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
EVERY_S = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Usage:
    """The largest memory seen, MiB, and the CPU seconds by process as last seen."""

    peak_mib: float = 0.0
    cpu: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes; what a process used after the last look is missing."""
        return sum(self.cpu.values())


@contextmanager
def watched(pid: int) -> Iterator[Usage]:
    """Looks at the process tree below `pid` twice a second until the block ends."""
    usage, over = Usage(), threading.Event()

    def look() -> None:
        while not over.is_set():
            pids = tree(pid)
            usage.peak_mib = max(usage.peak_mib, sum(map(pss_mib, pids)))
            usage.cpu |= {p: seconds for p in pids if (seconds := cpu_s(p))}
            over.wait(EVERY_S)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        over.set()
        thread.join()


def tree(pid: int) -> list[int]:
    """The process and all below it; only itself where it has ended."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for task in (PROC / str(found[-1]) / "task").glob("*/children"):
            waiting.extend(map(int, _read(task).split()))
    return found


def pss_mib(pid: int) -> float:
    """PSS of one process in MiB; 0 where it has ended."""
    lines = _read(PROC / str(pid) / "smaps_rollup").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def cpu_s(pid: int) -> float:
    """User and system seconds of one process (proc(5), stat fields 14 and 15); 0 where it has ended."""
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS if fields else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
