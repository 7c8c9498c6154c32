"""The last to leave: a tiny process that ends the servers when their supervisor dies without doing so.

Reads `watch <leader pid> <shm prefix or ->` and `forget <leader pid>` lines from a pipe that only the
supervisor holds. End of file means the supervisor is gone, even by SIGKILL: every watched group is ended and
its shared memory removed. Redis saves its data on the way.
"""

import atexit
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from deploy.local.processes.groups import end_group, members, remove_segments

GRACE = 8.0


class Guard:
    """The supervisor's end of the pipe. One guard process serves all servers of this process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", __file__]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, text=True, bufsize=1, start_new_session=True
        )

    def watch(self, leader: int, prefix: str) -> None:
        """From now on the group ends with this process."""
        self._tell(f"watch {leader} {prefix or '-'}")

    def forget(self, leader: int) -> None:
        """The group was stopped properly."""
        self._tell(f"forget {leader}")

    def close(self) -> None:
        """End the guard; what is still watched ends too."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=3 * GRACE)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")


@cache
def shared_guard() -> Guard:
    """This process's guard, started with its first server and closed at exit."""
    guard = Guard()
    atexit.register(guard.close)
    return guard


def main() -> None:
    """Follow the pipe to its end, then end what is still watched."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, str] = {}
    for line in sys.stdin:
        verb, leader, *rest = line.split()
        if verb == "watch":
            watched[int(leader)] = rest[0]
        else:
            watched.pop(int(leader), None)
    threads = [threading.Thread(target=_end, args=item) for item in watched.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _end(leader: int, prefix: str) -> None:
    if members(leader):
        end_group(leader, GRACE)
    if prefix != "-":
        remove_segments(prefix)


if __name__ == "__main__":
    main()
