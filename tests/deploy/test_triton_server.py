"""The real tritonserver: loads, answers, unloads, dies, and never leaves anything behind."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from deploy.local.errors import EarlyDeathError, PortInUseError
from deploy.local.processes import groups
from deploy.local.processes.ports import describe_owner
from deploy.local.runtime import TritonServer
from exporters.errors import ServerError
from exporters.server import Server
from tests.deploy import echo
from tests.ports import isolated_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def make_server(home: Path, *flags: str) -> TritonServer:
    settings = isolated_settings(home)
    echo.write_model(settings.runtime_repository, 1)
    return TritonServer(settings, backends=[echo.BACKENDS], flags=flags)


def assert_nothing_left(server: TritonServer, pid: int) -> None:
    assert groups.members(pid) == set()
    assert groups.segments(server.shm_prefix) == []
    assert [describe_owner(port.number) for port in server.ports] == [None, None, None]


def test_loads_answers_unloads_and_leaves_nothing(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    url = server.settings.triton_url
    with server:
        pid = server.pid
        echo.load(url)
        Server(url).wait("echo", 1, timeout=10)
        assert echo.ask(url) == [0.0, 2.0, 4.0, 6.0]
        assert groups.segments(server.shm_prefix)

        echo.write_model(server.settings.runtime_repository, 2)
        echo.load(url)
        Server(url).wait("echo", 2, timeout=10)
        assert Server(url).ready("echo", 1)
        assert echo.ask(url, "2") == [0.0, 2.0, 4.0, 6.0]

        echo.unload(url)
        wait_until_unloaded(url)
        with pytest.raises(ServerError, match="echo version 1 is not ready after 0 s"):
            Server(url).wait("echo", 1, timeout=0)
        echo.load(url)
        assert echo.ask(url, "1") == [0.0, 2.0, 4.0, 6.0]
    assert_nothing_left(server, pid)


def wait_until_unloaded(url: str) -> None:
    """Unloading is asynchronous: return when both versions are gone."""
    give_up = time.monotonic() + 10
    while any(Server(url).ready("echo", version) for version in (1, 2)):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_killed_server_is_reported_and_cleaned(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    with server:
        pid = server.pid
        echo.load(server.settings.triton_url)
        os.kill(pid, signal.SIGKILL)
        groups.wait_gone(pid, 5)
        with pytest.raises(EarlyDeathError, match="triton ended by itself \\(signal SIGKILL\\)"):
            server.check()
    assert_nothing_left(server, pid)


def test_without_the_key_nobody_loads(tmp_path: Path) -> None:
    key = SecretStr("0123456789abcdef")
    settings = isolated_settings(tmp_path, triton_key=key)
    echo.write_model(settings.runtime_repository, 1)
    with TritonServer(settings, backends=[echo.BACKENDS]):
        stranger, owner = Server(settings.triton_url), Server(settings.triton_url, key)
        stranger.check()  # health is everybody's
        with pytest.raises(ServerError, match=r"refused to load echo: .*restricted"):
            stranger.load("echo")
        with pytest.raises(ServerError, match="does not list its models"):
            stranger.loaded()
        with pytest.raises(ServerError, match=r"refused to load echo: .*restricted"):
            Server(settings.triton_url, SecretStr("fedcba9876543210")).load("echo")
        load = f"http://{settings.host}:{settings.triton_http_port}/v2/repository/models/echo/load"
        assert httpx.post(load, json={}).status_code == 403
        owner.load("echo")
        owner.wait("echo", 1, timeout=10)
        assert owner.loaded() == {("echo", 1)}
        assert echo.ask(settings.triton_url) == [0.0, 2.0, 4.0, 6.0]  # so is inference
        for path in ("/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging"):
            assert httpx.get(f"http://{settings.host}:{settings.triton_http_port}{path}").status_code == 403


def test_mode_none_serves_what_is_there_and_loads_nothing_more(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path, triton_control="none")
    repository = tmp_path / "staged"
    echo.write_model(repository, 1)
    with TritonServer(settings, backends=[echo.BACKENDS], repository=repository):
        server = Server(settings.triton_url)
        assert server.ready("echo", 1)
        echo.write_model(repository, 2)
        with pytest.raises(ServerError, match="refused to load echo"):
            server.load("echo")
        assert not server.ready("echo", 2)


def test_a_bad_flag_is_shown_from_the_log(tmp_path: Path) -> None:
    server = make_server(tmp_path, "--no-such-flag")
    with pytest.raises(EarlyDeathError, match="no-such-flag"):
        server.start()
    assert not server.alive()


def test_an_occupied_port_is_refused_by_name(tmp_path: Path) -> None:
    with make_server(tmp_path / "a") as first:
        settings = isolated_settings(tmp_path / "b", triton_grpc_port=first.settings.triton_grpc_port)
        second = TritonServer(settings, backends=[echo.BACKENDS])
        with pytest.raises(PortInUseError) as refusal:
            second.start()
        assert str(refusal.value).startswith(
            f"port {first.settings.triton_grpc_port} (Triton gRPC, TRIDENT_TRITON_GRPC_PORT) "
            f"is in use by pid {first.pid} (tritonserver)"
        )
        assert first.alive()
