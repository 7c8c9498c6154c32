"""The orchestrator, `python -m orchestrator serve`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.processes.ports import Port
from deploy.local.readiness import http_get, http_status
from deploy.local.runtime.server import Server

READY_PATH = "/readyz"


class ApiServer(Server):
    """The REST API; a SIGTERM lets requests in flight finish, hence the longer grace."""

    name = "api"
    grace = 20.0

    @property
    def ports(self) -> tuple[Port, ...]:
        """One."""
        return (Port(number=self.settings.api_port, purpose="API", variable="TRIDENT_API_PORT"),)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.settings.host}:{self.settings.api_port}"

    def command(self) -> Sequence[str | Path]:
        """The orchestrator's own command, with this interpreter."""
        return [sys.executable, "-m", "orchestrator", "serve"]

    def ready(self) -> bool:
        """Its readiness endpoint answers 200."""
        return http_status(self.settings.host, self.settings.api_port, READY_PATH) == 200

    def not_ready_reason(self) -> str:
        """The reasons it gives itself, else its log."""
        _, body = http_get(self.settings.host, self.settings.api_port, READY_PATH)
        return body.decode(errors="replace") or super().not_ready_reason()
