"""Work that has time leaves the core idle most of it; nothing else is slowed."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy.settings import ROOT
from deploy.triton.backends.pace import BITE_S, SHARE, at_full_speed, breathe, slow_down

IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from deploy.triton.backends.pace import slow_down
slow_down()
started, used = time.monotonic(), time.thread_time()
__import__("first"); __import__("second")
print(time.monotonic() - started, time.thread_time() - used)
"""


def _compute(seconds: float) -> float:
    """Use so much CPU time. Returns the time that it used."""
    started = time.thread_time()
    while (used := time.thread_time() - started) < seconds:
        pass
    return used


def _in_thread(steps: int, slow: bool) -> tuple[float, float]:
    """Seconds and CPU seconds of a thread that computes in bites."""
    told: list[float] = []

    def work() -> None:
        if slow:
            slow_down()
        started, used = time.monotonic(), 0.0
        for _ in range(steps):
            used += _compute(2 * BITE_S)
            breathe()
        told.extend((time.monotonic() - started, used))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return told[0], told[1]


def test_a_slowed_thread_takes_no_more_than_its_share() -> None:
    seconds, used = _in_thread(10, slow=True)
    assert seconds >= used / SHARE * 0.99


def test_the_pauses_are_the_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    _in_thread(10, slow=False)
    assert pauses == []
    _in_thread(10, slow=True)
    assert len(pauses) == 10


def test_at_full_speed_there_are_none_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    def work() -> None:
        slow_down()
        with at_full_speed():
            _compute(2 * BITE_S)
            breathe()
        pauses.append(-1)
        breathe()  # nothing used since
        _compute(2 * BITE_S)
        breathe()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pauses[0] == -1
    assert len(pauses) == 2


def test_importing_pauses_between_modules(tmp_path: Path) -> None:
    busy = "import time\nend = time.thread_time() + 0.05\nwhile time.thread_time() < end: pass\n"
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(busy)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, used = map(float, done.stdout.split())
    assert seconds >= used + 0.05 * (1 / SHARE - 1)  # the pause after the first, before the second


SETTLE = """
import gc, sys
sys.path.insert(0, sys.argv[1])
from deploy.triton.backends.pace import settle
before = len(gc.get_objects())
settle()
print(before, len(gc.get_objects()))
"""


def test_what_is_loaded_is_not_gone_through_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETTLE, str(ROOT)], capture_output=True, text=True, check=True, timeout=60
    )
    before, after = map(int, done.stdout.split())
    assert after < before / 10
