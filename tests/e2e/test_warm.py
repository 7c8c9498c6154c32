"""`python -m orchestrator warm` on the running stack: embeddings of active users are there before they ask."""

import json
import subprocess
import sys

import httpx
import pytest
import redis

from deploy.local.serve import Platform
from deploy.settings import ROOT, Settings, child_environment
from feature_repo.rows import active_key

pytestmark = pytest.mark.e2e


def run(settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", "warm", *options]
    return subprocess.run(
        command, cwd=ROOT, env=child_environment(settings), capture_output=True, text=True, check=False, timeout=60
    )


def test_active_users_are_cached_and_answered_without_the_user_tower(
    stack: Platform, settings: Settings, api: httpx.Client
) -> None:
    with redis.Redis.from_url(settings.redis_url) as store:
        active = json.loads(store.get(active_key()) or b"[]")
        for key in store.scan_iter("embedding:*"):
            store.delete(key)
        done = run(settings, "--users", "10", "--json")
        assert done.returncode == 0, done.stderr
        (tower,) = json.loads(done.stdout.splitlines()[-1])["towers"]
        assert (tower["users"], tower["cached"]) == (10, 10)
        cached = {key.decode().rpartition(":")[2] for key in store.scan_iter("embedding:*")}
        assert cached == set(active[:10])
    timings = api.get("/recommend", params={"user_id": active[0], "timings": True}).json()["timings"]
    assert "embed" not in timings


def test_a_release_that_is_not_loaded_is_refused_by_name(stack: Platform, settings: Settings) -> None:
    done = run(settings, "--release", "99")
    assert done.returncode == 2
    assert "release 99 is not loaded" in done.stderr
