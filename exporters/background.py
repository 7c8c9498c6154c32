"""Commands that have time run only while nothing that serves on this machine wants to.

`__main__` asks before it imports anything else: what the commands import takes a third of a second.
"""

from collections.abc import Sequence

from deploy.triton.backends.pace import give_way, slow_down

PATIENT = ("publish", "retire", "refresh", "gc")
SLOW = ("publish", "retire", "gc")  # those of seconds, a share of a core (`pace`); a refresh computes for minutes


def set_pace(arguments: Sequence[str]) -> None:
    """Lower this process and its children for good if the command is one of them; behind the others somebody waits."""
    command = arguments[0] if arguments else ""
    if command in PATIENT:
        give_way()
    if command in SLOW:
        slow_down()
