"""The real Redis: its memory policy, its data across restarts, its port."""

import os
import signal
import socket
from pathlib import Path

import pytest
import redis

from deploy.local.errors import EarlyDeathError, PlatformError, PortInUseError
from deploy.local.processes import groups
from deploy.local.runtime import RedisServer
from deploy.local.runtime.stack import Stack
from tests.ports import isolated_settings

pytestmark = pytest.mark.timeout(60)


def test_data_survives_a_restart_and_only_caches_may_be_evicted(tmp_path: Path) -> None:
    server = RedisServer(isolated_settings(tmp_path))
    with server, redis.Redis.from_url(server.settings.redis_url) as store:
        store.set("features", "kept")
        policy = store.config_get("maxmemory*")
        assert policy["maxmemory-policy"] == "volatile-lru"
        assert policy["maxmemory"] == str(2 << 30)
        assert store.config_get("bind")["bind"] == "127.0.0.1"
        pid = server.pid
    assert groups.members(pid) == set()
    with server, redis.Redis.from_url(server.settings.redis_url) as store:
        assert store.get("features") == b"kept"


def test_full_memory_refuses_features_instead_of_evicting_them(tmp_path: Path) -> None:
    server = RedisServer(isolated_settings(tmp_path, redis_memory="4mb"))
    with server, redis.Redis.from_url(server.settings.redis_url) as store:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(store)
        assert store.get("features:0") == b"x" * 10_000


def fill(store: redis.Redis) -> None:
    for number in range(1000):
        store.set(f"features:{number}", b"x" * 10_000)


def test_an_occupied_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = RedisServer(isolated_settings(tmp_path, redis_port=port))
        expected = f"port {port} \\(Redis, TRIDENT_REDIS_PORT\\) is in use by pid {os.getpid()} "
        with pytest.raises(PortInUseError, match=expected):
            server.start()
        assert not server.log.exists()


def test_every_occupied_port_is_found_before_the_first_server_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = RedisServer(isolated_settings(tmp_path))
        blocked = RedisServer(isolated_settings(tmp_path, redis_port=taken.getsockname()[1]))
        with Stack(free.settings) as stack, pytest.raises(PortInUseError):
            stack.refuse_occupied(free, blocked)
    assert not free.alive()


def test_a_death_at_start_shows_the_reason(tmp_path: Path) -> None:
    server = RedisServer(isolated_settings(tmp_path, redis_memory="plenty"))
    with pytest.raises(EarlyDeathError, match=r"redis ended by itself \(exit code 1\).*maxmemory"):
        server.start()


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    server = RedisServer(isolated_settings(tmp_path))
    server.grace = 0.5
    server.start()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert groups.members(server.pid) == set()


def test_a_missing_program_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="redis-server is missing; run `make setup`"):
        RedisServer(isolated_settings(tmp_path)).start()
