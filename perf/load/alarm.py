"""Wakes an event loop at a moment, within some 50 µs: the loop's own timers only know whole milliseconds.

Linux's timerfd; Python offers it from 3.13 on, before that the C library does.
"""

import ctypes
import os
import time
from collections.abc import Callable

from uvloop import Loop

FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
ABSOLUTE = 1


class _Times(ctypes.Structure):
    """`struct itimerspec`: interval and value, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Calls `ring` on the loop from the moment of `at` on, until `ring` says another moment or closes it.

    A new moment also takes back what rang: that saves reading the timer.
    """

    def __init__(self, loop: Loop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, ring)

    def at(self, moment: float) -> None:
        """Ring at `moment` of `time.monotonic`, at once when that is past."""
        whole, rest = divmod(max(moment, 1e-9), 1.0)
        times = _Times(0, 0, int(whole), max(1, int(rest * 1e9)))
        if self._libc.timerfd_settime(self._fd, ABSOLUTE, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Never ring again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
