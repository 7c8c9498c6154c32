"""A small OTLP receiver: what arrives on /v1/traces over HTTP, as protobuf (Python's SDK) or JSON (Triton's)."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """On a port of its own; `status` is what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200 and self.path == "/v1/traces":
            self.server.spans.extend(_spans(self.headers["content-type"], body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _spans(content_type: str, body: bytes) -> Iterator[Span]:
    if content_type != "application/json":
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            yield from (span for scope in resource.scope_spans for span in scope.spans)
        return
    for resource in json.loads(body)["resourceSpans"]:
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            ids = {"trace_id": "traceId", "span_id": "spanId", "parent_span_id": "parentSpanId"}
            yield Span(name=span["name"], **{ours: bytes.fromhex(span.get(name, "")) for ours, name in ids.items()})


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that runs inside the block."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
