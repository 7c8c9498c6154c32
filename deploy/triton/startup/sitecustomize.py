"""Runs first in every python stub of Triton, which has it on its PYTHONPATH.

A release brings up five stubs beside those that answer. What each imports before anything of ours runs is loaded here,
in a thread that gives way to what serves.
"""

import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "backends"))

from pace import give_way, slow_down


def _load() -> None:
    give_way()
    slow_down()
    import numpy  # noqa: F401


_thread = threading.Thread(target=_load)
_thread.start()
_thread.join()
