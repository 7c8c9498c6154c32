"""The watchdog of this workspace's Triton, `python -m exporters watch`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.processes.ports import Port
from deploy.local.readiness import http_status
from deploy.local.runtime.server import Server


class WatchdogServer(Server):
    """Started once something is published, so that it fills no server that a first publish is about to fill."""

    name = "watchdog"

    @property
    def ports(self) -> tuple[Port, ...]:
        """One."""
        return (Port(number=self.settings.watchdog_port, purpose="watchdog", variable="TRIDENT_WATCHDOG_PORT"),)

    def command(self) -> Sequence[str | Path]:
        """The exporters' own command, with this interpreter."""
        return [sys.executable, "-m", "exporters", "watch"]

    def ready(self) -> bool:
        """It answers, whatever it says of Triton."""
        return http_status(self.settings.host, self.settings.watchdog_port, "/healthz") is not None
