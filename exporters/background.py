"""Commands that have time run only while nothing that serves on this machine wants to.

`__main__` asks before it imports anything else: what the commands import takes a third of a second.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

PATIENT = ("publish", "retire", "refresh", "gc")


def give_way(arguments: Sequence[str]) -> None:
    """Lower this process and its children for good if the command is one of them; behind the others somebody waits."""
    if arguments and arguments[0] in PATIENT:
        with suppress(OSError):  # a sandbox without it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
