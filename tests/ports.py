"""Free ports for tests that start real servers."""

import socket
from contextlib import ExitStack
from pathlib import Path

from deploy.settings import Settings


def free_ports(count: int) -> list[int]:
    """Distinct ports that nothing listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """One free port."""
    return free_ports(1)[0]


def isolated_settings(home: Path, **changes: object) -> Settings:
    """Settings with their own folder and six free ports, so that tests never meet a running stack."""
    api, redis, http, grpc, metrics, watchdog = free_ports(6)
    values = {
        "home": home,
        "size": "tiny",
        "api_port": api,
        "redis_port": redis,
        "triton_http_port": http,
        "triton_grpc_port": grpc,
        "triton_metrics_port": metrics,
        "watchdog_port": watchdog,
    }
    return Settings.model_validate(values | changes)
