"""Work that has time, beside what serves: it gets the CPU only while nobody else wants it, and only a share of that.

The lowest priority alone does not do. A core that is busy with such work is not idle, so a request that waits behind
another one on the next core stays there until the kernel balances its queues, milliseconds later. Short bites with
pauses between them leave the core idle most of the time.

    give_way → slow_down → breathe, breathe, … at every point where a pause may fall; importing a module is one
"""  # fmt: skip

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")

SHARE = 0.25  # of a core
BITE_S = 0.002  # of CPU time, below which no pause is worth a wake-up

_thread = threading.local()  # `since`: its CPU time at its last pause, where it takes any


def give_way(thread: int = 0) -> None:
    """From now on a thread (0: this one) runs only while nothing else wants to, where the kernel knows of that."""
    with suppress(OSError):
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def slow_down() -> None:
    """From now on this thread pauses in `breathe` and before each module that it imports."""
    _thread.since = time.thread_time()
    if not any(isinstance(finder, _Pause) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Pause())


def breathe() -> None:
    """Pause for as long as makes this thread's work since its last pause a `SHARE` of the time, if it slowed down."""
    since = getattr(_thread, "since", None)
    if since is None or (used := time.thread_time() - since) < BITE_S:
        return
    time.sleep(used * (1 / SHARE - 1))
    _thread.since = time.thread_time()


@contextmanager
def at_full_speed() -> Iterator[None]:
    """No pauses meanwhile: for work of minutes, which somebody waits for."""
    slowed = getattr(_thread, "since", None) is not None
    _thread.since = None
    try:
        yield
    finally:
        _thread.since = time.thread_time() if slowed else None


def gently(load: Callable[[], T]) -> T:
    """Load in a thread that gives way and pauses; it has time, an answer has not.

    The priority is the thread's alone and ends with it. Threads that `load` starts inherit it: let it start none.
    """
    with ThreadPoolExecutor(1, initializer=_patient) as thread:
        return thread.submit(load).result()


def preload(library: str) -> None:
    """Load a library gently, ahead of the import statement that names it."""
    gently(lambda: import_module(library))


def settle() -> None:
    """What is loaded now stays: the garbage collector need not go through it again, in the middle of an answer."""
    gc.freeze()


def leave() -> None:
    """The process ends behind what still serves: whichever of its threads is the last frees all its memory."""
    for thread in Path("/proc/self/task").iterdir():
        give_way(int(thread.name))


def _patient() -> None:
    give_way()
    slow_down()


class _Pause(MetaPathFinder):
    """Finds no module, but is asked before each."""

    def find_spec(
        self, _name: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        breathe()
        return None
