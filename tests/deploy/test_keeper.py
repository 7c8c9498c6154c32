"""Servers that end by themselves: started again, unless that is no use. Two real processes, the rest in numbers."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local.errors import EarlyDeathError
from deploy.local.processes.ports import Port
from deploy.local.runtime import Stack
from deploy.local.runtime.keeper import MOST, MOST_YOUNG, WITHIN_S, YOUNG_S, Ends, Keeper
from deploy.local.runtime.server import Server
from tests.ports import isolated_settings


class Sleeper(Server):
    """Does nothing; `code` runs first."""

    name = "sleeper"
    code = ""

    @property
    def ports(self) -> tuple[Port, ...]:
        return ()

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-S", "-c", f"{self.code}\nimport time; time.sleep(60)"]

    def ready(self) -> bool:
        return True


def mend_for(keeper: Keeper, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        keeper.mend()
        time.sleep(0.05)


def test_pauses_grow_and_come_back_to_the_first_one() -> None:
    ends = Ends()
    assert [ends.pause(100.0 * n, lived_s=50.0) for n in range(3)] == [0.2, 0.4, 0.8]
    assert ends.pause(300.0 + 2 * WITHIN_S, lived_s=50.0) == 0.2


def test_a_server_that_keeps_dying_young_is_given_up() -> None:
    ends = Ends()
    pauses = [ends.pause(float(n), lived_s=YOUNG_S / 2) for n in range(MOST_YOUNG)]
    assert pauses == [*pauses[:-1], None]
    assert None not in pauses[:-1]


def test_a_server_that_lived_is_given_up_after_many_ends_only() -> None:
    ends = Ends()
    pauses = [ends.pause(11.0 * n, lived_s=YOUNG_S + 1) for n in range(MOST + 1)]
    assert pauses.index(None) == MOST
    assert max(pause for pause in pauses if pause) == 10.0


def test_a_killed_server_is_started_again_and_one_that_is_stopped_on_purpose_is_not(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    with Stack(settings) as stack:
        server = stack.start(Sleeper(settings), kept=True)
        with stack.attended():
            first = server.pid
            os.kill(first, signal.SIGKILL)
            give_up = time.monotonic() + 30
            while not stack.restarts(server) or not server.alive():
                assert time.monotonic() < give_up
                time.sleep(0.05)
            assert server.pid != first
            stack.restart(server)
            time.sleep(0.5)
        assert stack.restarts(server) == 1
    assert not server.alive()


def test_one_that_cannot_stay_up_ends_the_stack_with_its_reason(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    server = Sleeper(settings)
    with server:
        keeper = Keeper(server, sleep=lambda _: None)
        server.code = "raise SystemExit('error: no memory')"
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(EarlyDeathError, match=r"sleeper ended by itself .* given up after \d+ restarts"):
            mend_for(keeper, 30.0)
