"""`python -m exporters watch`: beside one Triton, for as long as it runs."""

import time
from typing import Annotated

import structlog
import typer

from deploy.settings import load_settings

LINES = (structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True))


def watch(
    triton: Annotated[str, typer.Option(help="host:port of the server; default: this workspace's")] = "",
    address: Annotated[str, typer.Option(help="where /healthz and /metrics listen; default: loopback")] = "",
) -> None:
    """Ask every model version of a running Triton; load again what is broken, and all after a restart of it."""
    from exporters.watchdog.telemetry import serve
    from exporters.watchdog.watch import EVERY_S, Watchdog

    structlog.configure(processors=[*LINES, structlog.processors.JSONRenderer()])
    settings = load_settings()
    watchdog = Watchdog(settings, triton)
    serve(address or settings.host, settings.watchdog_port, watchdog.broken)
    while True:
        watchdog.look()
        time.sleep(EVERY_S)
