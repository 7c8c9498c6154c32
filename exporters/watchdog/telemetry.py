"""What the watchdog says of itself: metrics, and `/healthz` for whoever may restart Triton.

`/healthz` is 503 while a model is broken that the watchdog does not bring back, or Triton does not answer for long.
"""

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model_repository.traffic import ServedModel

REGISTRY = CollectorRegistry()


class Well(Collector):
    """Versions that are watched, and whether each answers. Those that are gone are not told of."""

    def __init__(self) -> None:
        self.versions: dict[ServedModel, bool] = {}

    def collect(self) -> Iterable[Metric]:
        """What a scrape shows."""
        family = GaugeMetricFamily(
            "watchdog_model_well", "1: the version answers, 0: it is broken", labels=("model", "version")
        )
        for (name, version), well in list(self.versions.items()):
            family.add_metric((name, str(version)), float(well))
        yield family


WELL = Well()
REGISTRY.register(WELL)
RELOADS = Counter(
    "watchdog_reloads", "Versions loaded again, by why and outcome", ("model", "why", "outcome"), registry=REGISTRY
)
REFILLS = Counter("watchdog_refills", "Empty servers filled again, by outcome", ("outcome",), registry=REGISTRY)
ANSWERS = Counter("watchdog_answers", "Replies to canary questions", ("model", "result"), registry=REGISTRY)
LAST_LOOK = Gauge("watchdog_look_timestamp_seconds", "When Triton was last looked at", registry=REGISTRY)


def serve(address: str, port: int, broken: Callable[[], list[str]]) -> ThreadingHTTPServer:
    """`/metrics` and `/healthz` in the background until `shutdown`. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4", generate_latest(REGISTRY))
                return
            found = broken()
            status = (503 if found else 200) if self.path == "/healthz" else 404
            self._answer(status, "application/json", json.dumps({"broken": found}).encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Probes are no news."""

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="watchdog-http", daemon=True).start()
    return server
