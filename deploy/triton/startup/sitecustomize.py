"""Runs first in every python stub of Triton, which has it on its PYTHONPATH.

A release brings up five stubs beside those that answer. What each imports before anything of ours runs is loaded here,
while nothing that serves wants the CPU.
"""

import os
import threading
from contextlib import suppress


def _load() -> None:
    with suppress(OSError):  # a sandbox without it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # this thread alone
    import numpy  # noqa: F401


_thread = threading.Thread(target=_load)
_thread.start()
_thread.join()
