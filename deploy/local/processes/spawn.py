"""Start a program so that it ends with this process, however this process ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.processes import groups, launch
from deploy.local.processes.guard import shared_guard


def spawn(
    command: Sequence[str | Path], *, log: Path, folder: Path, variables: Mapping[str, str], shm_prefix: str = ""
) -> subprocess.Popen[bytes]:
    """The program leads its own process group; its output goes to `log`, the run before stays as `.1`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    guard = shared_guard()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_wrapper(), *map(str, command)], cwd=folder, env=dict(variables), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    guard.watch(process.pid, shm_prefix)
    return process


def exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """As `Popen.poll`, but the process stays a zombie, so that nobody else gets its id before `finish`."""
    if process.returncode is not None:
        return int(process.returncode)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def finish(process: subprocess.Popen[bytes], grace: float) -> None:
    """End its whole group: SIGTERM to it, SIGKILL to what is left after `grace` seconds. Call it once or more."""
    if process.returncode is not None:
        return
    groups.end_group(process.pid, grace)
    process.wait()
    shared_guard().forget(process.pid)


def _wrapper() -> list[str]:
    """The kernel ties a child to the thread that started it, and only the main thread lasts."""
    lasting = threading.current_thread() is threading.main_thread()
    number = int(signal.SIGTERM) if lasting else 0
    return [sys.executable, "-I", "-S", launch.__file__, str(number), str(os.getpid())]
