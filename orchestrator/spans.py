"""Spans out, by the OpenTelemetry SDK over OTLP (http/protobuf). Imported only where an endpoint is set.

A thread sends them in batches from a bounded queue; what does not fit, or cannot be sent, is counted and forgotten.
"""

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as SdkTracer

from orchestrator.metrics import DROPPED, child
from orchestrator.policy import TracePolicy
from orchestrator.tracing import TraceContext

PATH = "/v1/traces"
SERVICE = "trident-orchestrator"
KIND = "span"  # in the drop counter
log = structlog.get_logger(__name__)


def open_tracer(endpoint: str, share: float, policy: TracePolicy) -> "OtlpTracer":
    """A tracer that sends to a collector's base URL."""
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False  # we say it ourselves, as JSON and once
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH, timeout=policy.export_s)
    return OtlpTracer(exporter, share, policy)


class OtlpTracer:
    """A `Tracer`."""

    def __init__(
        self, exporter: SpanExporter, share: float, policy: TracePolicy, draw: Callable[[], float] = random.random
    ) -> None:
        self._share = share
        self._draw = draw
        self._sender = Sender(exporter, policy)
        resource = Resource({"service.name": SERVICE})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._sender)
        self._tracer = self._provider.get_tracer("trident")

    def begin(self, name: str, offered: TraceContext | None) -> "OtlpTrace | None":
        """See `Tracer`."""
        sampled = self._draw() < self._share if offered is None else offered.sampled
        return OtlpTrace(self._tracer, name, offered) if sampled else None

    async def close(self) -> None:
        """See `Tracer`."""
        await asyncio.to_thread(self._provider.shutdown)


class OtlpTrace:
    """A `Trace`."""

    def __init__(self, tracer: SdkTracer, name: str, offered: TraceContext | None) -> None:
        self._tracer = tracer
        self._root = tracer.start_span(name, _remote(offered), SpanKind.SERVER, {"http.route": name})
        self._within = set_span_in_context(self._root, Context())
        self._stage: Span | None = None
        self.trace_id = f"{self._root.get_span_context().trace_id:032x}"

    def context(self) -> TraceContext:
        """See `Trace`."""
        open_span = (self._stage or self._root).get_span_context()
        return TraceContext(open_span.trace_id, open_span.span_id, sampled=True)

    def enter(self, stage: str) -> None:
        """See `Trace`."""
        self._stage = self._tracer.start_span(stage, self._within)

    def failed(self, reason: str) -> None:
        """See `Trace`."""
        if self._stage is not None:
            self._stage.set_status(Status(StatusCode.ERROR, reason))

    def leave(self) -> None:
        """See `Trace`."""
        if self._stage is not None:
            self._stage.end()
            self._stage = None

    def answered(self, status: int, request_id: str) -> None:
        """See `Trace`."""
        self._root.set_attributes({"http.response.status_code": status, "trident.request_id": request_id})

    def end(self) -> None:
        """See `Trace`."""
        self.leave()
        self._root.end()


def _remote(offered: TraceContext | None) -> Context:
    """The SDK's form of a caller's context; without one a new trace begins."""
    if offered is None:
        return Context()
    remote = SpanContext(offered.trace_id, offered.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(remote), Context())


class Sender(SpanProcessor):
    """Takes ended spans and sends them from a thread of its own."""

    def __init__(self, exporter: SpanExporter, policy: TracePolicy) -> None:
        self._exporter = exporter
        self._policy = policy
        self._queue: deque[ReadableSpan] = deque()
        self._wake, self._stopping = threading.Event(), False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span; never blocks."""
        if self._stopping or len(self._queue) >= self._policy.queue:
            child(DROPPED, KIND, "shutdown" if self._stopping else "queue_full").inc()
            return
        self._queue.append(span)
        if len(self._queue) >= self._policy.batch:
            self._wake.set()

    def shutdown(self) -> None:
        """Send what is queued; what is not sent within the grace is dropped."""
        self._stopping = True
        self._wake.set()
        self._thread.join(self._policy.grace_s)
        self._exporter.shutdown()
        left = len(self._queue)
        self._queue.clear()
        if left:
            child(DROPPED, KIND, "shutdown").inc(left)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._policy.every_s)
            self._wake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._queue:
            count = min(len(self._queue), self._policy.batch)
            self._send([self._queue.popleft() for _ in range(count)])

    def _send(self, spans: list[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # whatever the exporter's transport raises: the thread lives on
            sent = False
        if not sent:
            child(DROPPED, KIND, "not_sent").inc(len(spans))
        if sent is self._failing:
            log.warning("spans_sent_again" if sent else "spans_not_sent")
            self._failing = not sent
