"""The platform as `make serve` runs it: Triton dies, comes back, and its models with it; nobody loads them by hand."""

import os
import signal
import time

import httpx
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from exporters.server import Server
from exporters.traffic import TrafficStore

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(600)]


def test_a_triton_that_was_killed_comes_back_with_its_models(
    settings: Settings, stack: Platform, api: httpx.Client
) -> None:
    before = TrafficStore(settings).require()
    loaded = Server(settings.triton_url).loaded()
    with stack.stack.attended():
        os.kill(stack.triton.pid, signal.SIGKILL)
        give_up = time.monotonic() + 120
        while stack.stack.restarts(stack.triton) == 0 or degraded(api):
            assert time.monotonic() < give_up, "the path is not whole again"
            time.sleep(0.2)
    assert stack.stack.restarts(stack.triton) == 1
    assert Server(settings.triton_url).loaded() == loaded
    assert TrafficStore(settings).require() == before


def degraded(api: httpx.Client) -> bool:
    answer = api.post("/v1/recommend", json={"user_id": "u00007", "num_items": 5})
    assert answer.status_code == 200
    return answer.json()["degraded"] is not None
