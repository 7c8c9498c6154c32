"""A real process on a real Redis, told to stop under load: what it answered is in the log, what it took is stored."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
import redis

from deploy.settings import ROOT, Settings, child_environment
from feature_repo.served import EVENTS, FIELD, IMPRESSIONS
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.__main__ import GRACE_S
from tests.orchestrator.conftest import record
from tests.ports import isolated_settings
from tests.redis_server import redis_server

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@contextmanager
def orchestrator(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own."""
    command = [sys.executable, "-m", "tests.orchestrator.small_server"]
    process = subprocess.Popen(command, cwd=ROOT, env=child_environment(settings), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _alive(settings):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def _alive(settings: Settings) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{settings.api_port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def load(url: str, client: int) -> tuple[int, int]:
    """Ask and report until the server is gone: (answers, events accepted)."""
    answers = events = 0
    with httpx.Client(base_url=url, timeout=5) as http:
        try:
            while True:
                answers += http.get("/recommend", params={"user_id": f"u{client}"}).status_code == 200
                said = {"event_id": str(answers), "user_id": f"u{client}", "item_id": "a", "event_type": "view"}
                events += http.post("/v1/events", json={"events": [said]}).status_code == 202
        except httpx.TransportError:
            return answers, events


def test_told_to_stop_under_load_it_loses_neither_an_answer_nor_an_event(tmp_path: Path) -> None:
    with redis_server() as port, redis.Redis(port=port) as store:
        settings = isolated_settings(tmp_path).model_copy(update={"redis_port": port})
        settings.workspace.mkdir(parents=True)
        store.set(TRAFFIC_KEY, record())
        with orchestrator(settings) as process, ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(load, f"http://127.0.0.1:{settings.api_port}", n) for n in range(4)]
            time.sleep(0.7)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(GRACE_S + 5)
            assert time.monotonic() - began < GRACE_S
            answers, events = (sum(counts) for counts in zip(*(client.result() for client in clients), strict=True))
        logged = [orjson.loads(fields[FIELD]) for _, fields in store.xrange(IMPRESSIONS)]
        assert min(answers, events) > 20
        assert len(logged) >= answers  # an answer may be lost on its way to a client that is gone
        assert len(logged) - answers <= len(clients)
        assert events <= store.xlen(EVENTS) <= events + len(clients)
        assert [entry["seq"] for entry in logged] == list(range(1, len(logged) + 1))
