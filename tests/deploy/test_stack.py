"""However the supervisor ends, nothing of the stack outlives it, and no second stack shares its place."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from deploy.local.errors import WorkspaceInUseError
from deploy.local.processes import groups
from deploy.local.processes.ports import describe_owner
from deploy.local.runtime import RedisServer, Stack
from deploy.settings import ROOT, Settings, child_environment
from tests.ports import isolated_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@contextmanager
def supervisor(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], dict[str, int], str]]:
    """A real supervisor process, the pids of its servers and the prefix of its shared memory."""
    command = [sys.executable, "-m", "tests.deploy.supervisor"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=child_environment(settings)
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        prefix = facts.pop("shm")
        try:
            yield process, facts, prefix
        finally:
            process.kill()


def assert_nothing_left(settings: Settings, pids: dict[str, int], prefix: str) -> None:
    deadline = time.monotonic() + 30
    while any(groups.members(pid) for pid in pids.values()) or groups.segments(prefix):
        assert time.monotonic() < deadline, "servers outlived their supervisor"
        time.sleep(0.1)
    assert describe_owner(settings.redis_port) is None
    assert describe_owner(settings.triton_grpc_port) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_says_so_in_one_line(tmp_path: Path, number: signal.Signals) -> None:
    settings = isolated_settings(tmp_path)
    with supervisor(settings) as (process, pids, prefix):
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (130, f"stopped ({number.name})\n")
        assert_nothing_left(settings, pids, prefix)


def test_a_killed_supervisor_leaves_nothing_and_redis_keeps_its_data(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    with supervisor(settings) as (process, pids, prefix):
        with redis.Redis.from_url(settings.redis_url) as store:
            store.set("kept", "1")
        process.kill()
        process.wait()
        assert_nothing_left(settings, pids, prefix)
    with RedisServer(settings), redis.Redis.from_url(settings.redis_url) as store:
        assert store.get("kept") == b"1"


@pytest.mark.parametrize("victim", ["redis", "triton"])
def test_the_death_of_one_stops_all_with_one_message(tmp_path: Path, victim: str) -> None:
    settings = isolated_settings(tmp_path)
    with supervisor(settings) as (process, pids, prefix):
        os.kill(pids[victim], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert said.startswith(f"error: {victim} ended by itself (signal SIGKILL)")
        assert said.count("\n") == 1
        assert_nothing_left(settings, pids, prefix)


def test_a_second_stack_on_the_workspace_is_refused(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    elsewhere = isolated_settings(tmp_path)
    with (
        Stack(settings),
        pytest.raises(WorkspaceInUseError, match=f"in use by another stack \\(pid {os.getpid()}\\)"),
        Stack(elsewhere),
    ):
        pass
    with Stack(elsewhere):
        pass
