"""Run as a script in a server's place: ask the kernel to end it with its parent, then become the server.

`python -I -S launch.py <signal> <parent pid> <program> [argument…]`. An exec wrapper, because code between fork
and exec is unsafe in a supervisor that has threads (gRPC starts some).
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns: replaces this process by the program, or exits when the parent is already gone."""
    number, parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("launch: the supervisor is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"error: cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
