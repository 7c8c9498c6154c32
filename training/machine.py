"""Facts of the machine a figure was measured on, and of the run that measured it."""

import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.settings import ROOT

_STARTED, _CLOCK = datetime.now(UTC), time.monotonic()  # one process makes one measurement


def facts() -> dict[str, object]:
    """CPU model, cores, memory in GiB, system and the checkout's revision; stored beside every figure."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}, glibc {platform.libc_ver()[1]}",
        "python": platform.python_version(),
        "revision": git_revision(),
    }


def run(stage: str) -> dict[str, object]:
    """The command of a stage that this process is, when it started, how long it took.

    `code_changed`: whether tracked files, stored results and documents aside, differ from the revision; None outside a
    checkout.
    """
    return {
        "command": shlex.join(["python", "-m", stage, *sys.argv[1:]]),
        "started_at": _STARTED.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - _CLOCK, 1),
        "code_changed": _code_changed(),
    }


def git_revision() -> str | None:
    """The checkout's revision; None outside one."""
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _code_changed() -> bool | None:
    paths = ("--", ".", ":!perf/results", ":!*.md")
    done = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", "HEAD", *paths], capture_output=True, check=False)
    return {0: False, 1: True}.get(done.returncode)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
