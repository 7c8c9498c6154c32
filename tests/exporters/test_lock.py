"""One publisher at a time, also when one is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.settings import ROOT, Settings, child_environment
from exporters.errors import BusyError
from exporters.lock import publishing
from tests.ports import isolated_settings

HOLD = """
import time
from deploy.settings import load_settings
from exporters.lock import publishing
with publishing(load_settings()):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path)


@contextmanager
def held_elsewhere(settings: Settings) -> Iterator[int]:
    """Another process holds the lock inside the block; its pid."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=ROOT, env=child_environment(settings), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield other.pid
        finally:
            other.kill()


def test_the_second_publisher_is_refused_by_name_of_the_first(settings: Settings) -> None:
    with held_elsewhere(settings) as pid, pytest.raises(BusyError, match=rf"pid {pid}\)"), publishing(settings):
        pass


def test_a_killed_publisher_holds_nothing(settings: Settings) -> None:
    with held_elsewhere(settings) as pid:
        os.kill(pid, signal.SIGKILL)
        with publishing(settings, wait_s=10):
            assert str(os.getpid()) in (settings.workspace / "publish.lock").read_text()


def test_who_holds_it_may_take_it_again(settings: Settings) -> None:
    with publishing(settings), publishing(settings):
        pass
    with publishing(settings):  # the inner one did not give it back, the outer one did
        pass
