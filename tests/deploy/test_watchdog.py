"""Stubs of a real Triton die and hang; the watchdog brings back the version that broke, and touches no other."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.runtime import TritonServer
from deploy.settings import Settings
from exporters.server import Server
from exporters.watchdog.judge import SILENT_S
from exporters.watchdog.mend import stubs
from exporters.watchdog.telemetry import serve
from exporters.watchdog.watch import EVERY_S, Watchdog
from tests.deploy import echo
from tests.ports import isolated_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PATIENCE_S = 60.0


@contextmanager
def echoing(settings: Settings) -> Iterator[TritonServer]:
    """Two versions of the echo model, both asked once."""
    echo.write_model(settings.runtime_repository, 1, 2)
    with TritonServer(settings, backends=[echo.BACKENDS], flags=["--exit-timeout-secs=1"]) as triton:
        if settings.triton_control == "explicit":
            echo.load(settings.triton_url)
        for version in ("1", "2"):
            Server(settings.triton_url).wait("echo", int(version), timeout=30)
            assert echo.ask(settings.triton_url, version) == [0.0, 2.0, 4.0, 6.0]
        yield triton


def pid_of(settings: Settings, version: int) -> int:
    (pid,) = stubs(settings.runtime_repository / "echo" / str(version))
    return pid


def watch_until(watchdog: Watchdog, holds: object, seconds: float = PATIENCE_S) -> None:
    give_up = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < give_up, "the watchdog did not do it"
        watchdog.look()
        time.sleep(EVERY_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_broken_version_is_loaded_again_beside_the_others(tmp_path: Path, number: signal.Signals) -> None:
    settings = isolated_settings(tmp_path)
    with echoing(settings) as triton:
        watchdog = Watchdog(settings)
        broken, other = pid_of(settings, 1), pid_of(settings, 2)
        for _ in range(4):
            watchdog.look()
        assert (pid_of(settings, 1), pid_of(settings, 2)) == (broken, other)  # who is well is left alone

        os.kill(broken, number)
        watch_until(watchdog, lambda: stubs(settings.runtime_repository / "echo" / "1") not in ([], [broken]))
        assert echo.ask(settings.triton_url, "1") == [0.0, 2.0, 4.0, 6.0]
        assert echo.ask(settings.triton_url, "2") == [0.0, 2.0, 4.0, 6.0]
        assert pid_of(settings, 2) == other
        assert triton.alive()
        assert watchdog.broken() == []


def test_a_stub_that_never_comes_back_but_gives_signs_of_life_is_found_too(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    with echoing(settings) as triton, echo.asked_for_ever(settings.triton_url, "1"):
        watchdog = Watchdog(settings)
        stuck, other = pid_of(settings, 1), pid_of(settings, 2)
        watch_until(watchdog, lambda: stubs(settings.runtime_repository / "echo" / "1") not in ([], [stuck]))
        assert echo.ask(settings.triton_url, "1") == [0.0, 2.0, 4.0, 6.0]
        assert pid_of(settings, 2) == other
        assert triton.alive()


def test_where_nothing_can_be_loaded_it_says_what_is_broken(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path, triton_control="none")
    with echoing(settings):
        watchdog = Watchdog(settings)
        http = serve(settings.host, settings.watchdog_port, watchdog.broken)
        healthz = f"http://{settings.host}:{settings.watchdog_port}/healthz"
        watchdog.look()
        assert httpx.get(healthz).status_code == 200
        os.kill(pid_of(settings, 1), signal.SIGKILL)
        watch_until(watchdog, watchdog.broken)
        assert httpx.get(healthz).status_code == 503
        assert httpx.get(healthz).json() == {"broken": ["echo/1"]}
        assert 'watchdog_model_well{model="echo",version="1"} 0.0' in httpx.get(healthz[:-7] + "metrics").text
        http.shutdown()
        http.server_close()


def test_a_server_that_stands_still_has_no_broken_model(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    with echoing(settings) as triton:
        watchdog = Watchdog(settings)
        watchdog.look()
        before = pid_of(settings, 1)
        os.kill(triton.pid, signal.SIGSTOP)
        ends = time.monotonic() + SILENT_S + 2.0
        while time.monotonic() < ends:
            watchdog.look()
            time.sleep(EVERY_S)
        os.kill(triton.pid, signal.SIGCONT)
        for _ in range(6):
            watchdog.look()
            time.sleep(EVERY_S)
        assert pid_of(settings, 1) == before
