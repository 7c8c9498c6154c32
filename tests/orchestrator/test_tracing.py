"""Trace context in, spans out: only what is sampled costs anything, and nothing that fails here is seen elsewhere."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from feature_repo.vectors import USER_DEFAULTS
from model_repository.contract import USER_TOWER
from orchestrator.app import assemble
from orchestrator.call import Arrays, Call
from orchestrator.errors import BadAnswerError, UnavailableError
from orchestrator.logs import configure
from orchestrator.metrics import REGISTRY
from orchestrator.policy import TracePolicy
from orchestrator.spans import OtlpTracer, open_tracer
from orchestrator.tracing import CURRENT, TraceContext, add_trace, outgoing, parse
from orchestrator.triton import TritonClient
from tests.orchestrator.conftest import KNOWN_USER, World
from tests.otlp import Collector, collecting
from tests.ports import free_port

pytestmark = pytest.mark.anyio
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CALLER[:-1] + "0"
TRACE_ID = CALLER[3:35]
CALL = Call(USER_TOWER, ("user_tower", 1), USER_TOWER.outputs)
QUICK = TracePolicy(every_s=0.01, export_s=0.5, grace_s=1.0)


def test_the_specifications_example() -> None:
    found = parse(CALLER.encode())
    assert found == TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=True)
    assert found.text() == CALLER
    assert parse(UNSAMPLED.encode()) == TraceContext(found.trace_id, found.span_id, sampled=False)


@pytest.mark.parametrize(
    "value",
    [
        "", "00", CALLER.upper(), f" {CALLER}", f"{CALLER} ", f"{CALLER}-more", f"{CALLER}\n", f"ff{CALLER[2:]}",
        "00-" + "0" * 32 + CALLER[35:], CALLER[:36] + "0" * 16 + "-01", CALLER[:-1], CALLER.replace("-", "_"),
        CALLER.replace("0af7", "0xf7"), "01" + CALLER[2:] + "x", "0" * 4096, CALLER + "\x00", CALLER + "\r\nx: y",
        "cc" + CALLER[2:] + "-" + "a" * 4096,
    ],
)  # fmt: skip
def test_what_is_no_context_is_none(value: str) -> None:
    assert parse(value.encode("latin-1")) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse(b"cc" + CALLER[2:].encode() + b"-what-the-future-will-be-like") == parse(CALLER.encode())


@given(st.binary(max_size=80))
def test_any_bytes_are_a_context_or_none(value: bytes) -> None:
    found = parse(value)
    assert found is None or value.startswith(b"%02x-%032x-%016x" % (int(value[:2], 16), found.trace_id, found.span_id))


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read_again(trace_id: int, span_id: int, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)
    assert parse(context.text().encode()) == context


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@asynccontextmanager
async def serving(world: World, tracer: OtlpTracer) -> AsyncIterator[httpx.AsyncClient]:
    service = world.service()
    await service.start()
    transport = httpx.ASGITransport(app=assemble(service, tracer=tracer), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http
    await service.stop()
    await tracer.close()


async def ask(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    answer = await http.get("/recommend", params={"user_id": KNOWN_USER}, headers=headers)
    assert answer.status_code == 200
    return answer


async def test_spans_arrive_with_their_parents(world: World, collector: Collector) -> None:
    async with serving(world, open_tracer(collector.url, 0.0, QUICK)) as http:
        answer = await ask(http, traceparent=CALLER, **{"x-request-id": "abc"})
    root = next(span for span in collector.spans if span.name == "/recommend")
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    assert root.parent_span_id.hex() == CALLER[36:52]
    assert root.kind == Span.SPAN_KIND_SERVER
    attributes = {a.key: a.value.string_value or a.value.int_value for a in root.attributes}
    assert attributes == {
        "http.route": "/recommend", "http.response.status_code": 200, "trident.request_id": "abc",
    }  # fmt: skip
    stages = {span.name: span for span in collector.spans if span is not root}
    assert {"read", "queue", "embed", "recommend", "rules", "respond"} <= stages.keys()
    assert {span.parent_span_id for span in stages.values()} == {root.span_id}
    for stage in stages.values():
        assert root.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= root.end_time_unix_nano
    assert answer.headers["traceresponse"] == f"00-{TRACE_ID}-{root.span_id.hex()}-01"


async def test_a_stage_that_failed_says_why(world: World) -> None:
    exporter = InMemorySpanExporter()
    world.triton.failure["recommend"] = UnavailableError("x")
    async with serving(world, OtlpTracer(exporter, 1.0, QUICK)) as http:
        assert (await ask(http)).json()["degraded"]["level"] == "L2"
    statuses = {span.name: span.status for span in exporter.get_finished_spans()}
    assert (statuses["recommend"].is_ok, statuses["recommend"].description) == (False, "unavailable")
    assert statuses["candidates"].is_ok


async def test_errors_are_spans_too(world: World, collector: Collector) -> None:
    async with serving(world, open_tracer(collector.url, 0.0, QUICK)) as http:
        answer = await http.get("/recommend", headers={"traceparent": CALLER})
    assert answer.status_code == 422
    (root,) = collector.spans
    assert {a.key: a.value.int_value for a in root.attributes}["http.response.status_code"] == 422


@contextmanager
def carried(world: World) -> Iterator[list[tuple[str, object]]]:
    """What each call to Triton would carry, by slot."""
    seen: list[tuple[str, object]] = []

    def alter(call: Call, arrays: Arrays) -> Arrays:
        seen.append((call.slot, outgoing()))
        return arrays

    world.triton.alter = alter
    yield seen


def place(span: SpanContext) -> dict[bytes, bytes]:
    """The header of a call inside the span."""
    return {b"traceparent": f"00-{TRACE_ID}-{span.span_id:016x}-01".encode()}


async def test_calls_to_triton_carry_their_stage(world: World) -> None:
    exporter = InMemorySpanExporter()
    with carried(world) as seen:
        async with serving(world, OtlpTracer(exporter, 0.0, QUICK)) as http:
            seen.clear()
            await ask(http, traceparent=CALLER)
    spans = {span.name: span.get_span_context() for span in exporter.get_finished_spans()}
    assert dict(seen)["recommend"] == place(spans["recommend"])
    assert dict(seen)["user_tower"] == place(spans["embed"])


class Notes(grpc.GenericRpcHandler):
    """A gRPC server that implements nothing and notes the trace context of each call."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def service(self, details: grpc.HandlerCallDetails) -> None:
        self.seen.append(dict(details.invocation_metadata).get("traceparent"))


@pytest.mark.parametrize("cancels", [False, True])
async def test_the_context_is_on_the_wire(cancels: bool) -> None:
    notes, target = Notes(), f"127.0.0.1:{free_port()}"
    server = grpc.aio.server(handlers=[notes])
    server.add_insecure_port(target)
    await server.start()
    client, tracer = TritonClient(target, cancels=cancels), OtlpTracer(InMemorySpanExporter(), 1.0, QUICK)
    trace = tracer.begin("x", parse(CALLER.encode()))
    for current in (None, trace):
        token = CURRENT.set(current)
        with pytest.raises(BadAnswerError):
            await client.infer(CALL, [USER_DEFAULTS], 5.0)
        CURRENT.reset(token)
    assert trace is not None
    assert notes.seen == [None, trace.context().text()]
    await client.close()
    await server.stop(None)
    await tracer.close()


@pytest.mark.parametrize("headers", [{}, {"traceparent": UNSAMPLED}, {"traceparent": "00-bad"}])
async def test_what_is_not_sampled_leaves_nothing(world: World, headers: dict[str, str]) -> None:
    exporter = InMemorySpanExporter()
    with carried(world) as seen:
        async with serving(world, OtlpTracer(exporter, 0.0, QUICK)) as http:
            answer = await ask(http, **headers)
    assert exporter.get_finished_spans() == ()
    assert {what for _, what in seen} == {None}
    assert "traceresponse" not in answer.headers


async def test_our_own_share_decides_without_a_context(world: World) -> None:
    exporter, draws = InMemorySpanExporter(), iter([0.4, 0.6, 0.4])
    async with serving(world, OtlpTracer(exporter, 0.5, QUICK, draw=lambda: next(draws))) as http:
        assert "traceresponse" in (await ask(http)).headers
        assert "traceresponse" not in (await ask(http)).headers
        assert "traceresponse" not in (await ask(http, traceparent=UNSAMPLED)).headers  # the caller decided
        answer = await ask(http, traceparent=f"00-{'0' * 32}-b7ad6b7169203331-01")
    assert parse(answer.headers["traceresponse"].encode()) is not None


@pytest.mark.parametrize("bad", ["\x00\x01", "x" * 4096, CALLER + "-evil", "é"])
async def test_a_bad_context_is_replaced(world: World, bad: str) -> None:
    async with serving(world, OtlpTracer(InMemorySpanExporter(), 1.0, QUICK)) as http:
        request = http.build_request("GET", "/recommend", params={"user_id": "x"})
        request.headers.raw.append((b"traceparent", bad.encode()))  # as no well-behaved client sends it
        answer = await http.send(request)
    found = parse(answer.headers["traceresponse"].encode())
    assert answer.status_code == 200
    assert found is not None
    assert f"{found.trace_id:032x}" != TRACE_ID


async def test_requests_do_not_share_a_trace(world: World) -> None:
    exporter = InMemorySpanExporter()
    async with serving(world, OtlpTracer(exporter, 1.0, QUICK)) as http:
        answers = await asyncio.gather(*(ask(http) for _ in range(8)))
    ids = {answer.headers["traceresponse"][3:35] for answer in answers}
    assert len(ids) == 8
    spans = exporter.get_finished_spans()
    roots = {span.context.trace_id: span.context.span_id for span in spans if span.name == "/recommend"}
    assert {f"{trace_id:032x}" for trace_id in roots} == ids
    assert all(span.parent.span_id == roots[span.context.trace_id] for span in spans if span.name != "/recommend")


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("log_dropped_total", {"kind": "span", "reason": reason}) or 0.0


async def test_a_collector_that_is_away_costs_spans_alone(world: World, collector: Collector) -> None:
    before, collector.status = dropped("not_sent"), 400
    async with serving(world, open_tracer(collector.url, 1.0, QUICK)) as http:
        for _ in range(5):
            await ask(http)
    assert dropped("not_sent") - before >= 5
    assert collector.spans == []


class Stuck(InMemorySpanExporter):
    """A collector that takes a connection and says nothing, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released, self.entered = threading.Event(), threading.Event()

    def export(self, spans: object) -> SpanExportResult:
        self.entered.set()
        self.released.wait(30)
        return SpanExportResult.SUCCESS


async def test_the_queue_is_bounded_and_the_end_does_not_wait(world: World) -> None:
    exporter, full, late = Stuck(), dropped("queue_full"), dropped("shutdown")
    policy = TracePolicy(queue=4, batch=1, every_s=0.01, grace_s=0.05)
    tracer = OtlpTracer(exporter, 1.0, policy)
    async with serving(world, tracer) as http:
        await ask(http)
        assert await asyncio.to_thread(exporter.entered.wait, 10)
        await ask(http)
    assert dropped("queue_full") > full
    assert dropped("shutdown") - late == 4
    exporter.released.set()


async def test_without_a_tracer_the_header_is_not_even_read(world: World) -> None:
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        answer = await ask(http, traceparent=CALLER)
    await service.stop()
    assert "traceresponse" not in answer.headers
    assert CURRENT.get() is None


async def test_log_lines_carry_the_trace(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tracer = OtlpTracer(InMemorySpanExporter(), 1.0, QUICK)
    trace = tracer.begin("x", None)
    assert trace is not None
    assert "trace_id" not in add_trace(None, "", {})
    token = CURRENT.set(trace)
    configure("info")
    try:
        structlog.get_logger().info("something", text="a\r\nb\x00c\u2028")
    finally:
        CURRENT.reset(token)
        structlog.reset_defaults()
        await tracer.close()
    (line,) = capfdbinary.readouterr().err.splitlines()
    assert json.loads(line)["trace_id"] == trace.trace_id
    assert json.loads(line)["text"] == "a\r\nb\x00c\u2028"
