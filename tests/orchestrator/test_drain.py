"""SIGTERM: not ready first, closed later."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from deploy.local.readiness import http_get, http_status
from deploy.settings import ROOT
from tests.ports import free_port

PATIENCE_S = 30.0
DRAIN_S = 1.5
READY, RECOMMEND = "/readyz", "/recommend?user_id=ana"


@pytest.fixture
def address(tmp_path: Path) -> tuple[str, int]:
    return "127.0.0.1", free_port()


@pytest.fixture
def api(tmp_path: Path, address: tuple[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ready."""
    command = (sys.executable, "-m", "tests.orchestrator.draining_api", str(tmp_path), str(address[1]), str(DRAIN_S))
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        ends = time.monotonic() + PATIENCE_S
        while http_status(*address, READY) != 200:
            assert time.monotonic() < ends
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_answers_a_while_after_it_stopped_being_ready(api: subprocess.Popen[bytes], address: tuple[str, int]):
    sent = time.monotonic()
    api.send_signal(signal.SIGTERM)
    ready, body = http_get(*address, READY)
    while ready == 200:
        ready, body = http_get(*address, READY)
    assert (ready, orjson.loads(body)["reasons"]) == (503, ["shutting down"])
    assert http_status(*address, RECOMMEND) == 200
    assert api.wait(PATIENCE_S) == -signal.SIGTERM  # uvicorn ends by the signal that it was sent
    assert time.monotonic() - sent >= DRAIN_S
