"""Traces of single requests: W3C trace context in and out, spans for the request and its stages when it is sampled.

A request is sampled when the caller's context says so, without one by our own share. One that is not sampled costs a
look at its headers; with tracing off nothing of this is on the path. `orchestrator.spans` makes and sends the spans.
https://www.w3.org/TR/trace-context/
"""

import re
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.parse import header

HEADER, ANSWER_HEADER = b"traceparent", b"traceresponse"
FORMAT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]{0,256})?"
)
SAMPLED = 1
FIRST_VERSION = b"00"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A caller's place in its trace."""

    trace_id: int
    span_id: int
    sampled: bool

    def text(self) -> str:
        """As `traceparent` says it, in version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{SAMPLED if self.sampled else 0:02x}"


def parse(value: bytes) -> TraceContext | None:
    """The context of a `traceparent` header; None when it is none, and then a new trace takes its place."""
    found = FORMAT.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == FIRST_VERSION and more is not None:
        return None
    return TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))


class Trace(Protocol):
    """The spans of one sampled request. The innermost open one is the parent of what is called meanwhile."""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""

    def context(self) -> TraceContext:
        """Of the innermost open span."""

    def enter(self, stage: str) -> None:
        """A stage begins. Stages do not nest."""

    def failed(self, reason: str) -> None:
        """The stage failed, in a token of ours."""

    def leave(self) -> None:
        """The stage ends."""

    def answered(self, status: int, request_id: str) -> None:
        """What the client gets."""

    def end(self) -> None:
        """The request is over."""


class Tracer(Protocol):
    """Decides what is sampled. In tests: `OtlpTracer` with the SDK's own InMemorySpanExporter."""

    def begin(self, name: str, offered: TraceContext | None) -> Trace | None:
        """The trace of a request, None when it is not sampled."""

    async def close(self) -> None:
        """Send what is left, within the grace."""


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def outgoing() -> dict[bytes, bytes] | None:
    """The header that a call out carries of the current trace."""
    trace = CURRENT.get()
    return None if trace is None else {HEADER: trace.context().text().encode()}


def add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the id of the current trace."""
    if (trace := CURRENT.get()) is not None:
        event["trace_id"] = trace.trace_id
    return event


class Traced:
    """An endpoint whose sampled requests are traced."""

    def __init__(self, app: ASGIApp, name: str, tracer: Tracer) -> None:
        self._app = app
        self._name = name
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        offered = header(scope, HEADER)
        trace = self._tracer.begin(self._name, parse(offered) if offered is not None else None)
        if trace is None:
            if CURRENT.get() is not None:
                CURRENT.set(None)  # of a request before it on this connection: cpython #140947
            await self._app(scope, receive, send)
            return
        token = CURRENT.set(trace)
        try:
            await self._app(scope, receive, answering(trace, send))
        finally:
            trace.end()
            CURRENT.reset(token)


def answering(trace: Trace, send: Send) -> Callable[[Message], Any]:
    """`send`, which tells the trace and adds the header that tells the client."""
    told = (ANSWER_HEADER, trace.context().text().encode())

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            trace.answered(message["status"], headers.get(b"x-request-id", b"").decode())
            message = {**message, "headers": [*message["headers"], told]}
        await send(message)

    return sent
