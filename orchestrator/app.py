"""The application: `create_app` is uvicorn's factory; `assemble` puts routes around a service, fakes included."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from deploy.settings import Settings, load_settings
from orchestrator import inbound, metrics
from orchestrator.api import Endpoint, answer_of, error_body
from orchestrator.docs import NOT_READY, openapi_of
from orchestrator.drain import drain_first
from orchestrator.errors import HttpAnswer
from orchestrator.feast_rows import open_feast
from orchestrator.gate import GatePolicy
from orchestrator.logs import configure
from orchestrator.parse import ParseJson, parse_query
from orchestrator.policy import LagPolicy, Policy, Standing
from orchestrator.redis_link import RedisLink
from orchestrator.schemas import AliveResponse, ReadyResponse, RecommendRequest
from orchestrator.service import Service, build
from orchestrator.triton import TritonClient

SLOW = 0.45  # share of the deadline after which a stay inside Triton counts as slow
LATE = 0.2  # share of the deadline that requests may wait before the event loop looks at them
DESCRIPTION = "Two-stage recommendations: retrieve, rank, rules. One request, one release."


def create_app() -> FastAPI:
    """The real application, from the environment's settings."""
    settings = load_settings()
    configure(settings.log_level)
    policy = policy_of(settings)
    store = RedisLink(settings.redis_url, policy.redis_connect_s)
    service = build(
        policy,
        store,
        connect=partial(TritonClient, message_bytes=policy.grpc_message_bytes, cancels=settings.triton_cancels),
        folder=settings.workspace,
        impressions=settings.logs / "impressions.jsonl",
        open_rows=partial(open_feast, settings),
    )
    return assemble(service, before=store.start, after=store.close)


def policy_of(settings: Settings) -> Policy:
    """The policy with what the environment may change."""
    deadline_s = settings.deadline_ms / 1000
    gate = GatePolicy(slow_s=SLOW * deadline_s)
    return Policy(
        deadline_s=deadline_s,
        gate=gate,
        lag=LagPolicy(first=Standing(late_s=LATE * deadline_s, patience_s=deadline_s, rounds=3)),
        max_in_flight=settings.max_in_flight,
        stale_features_s=3600 * settings.stale_features_hours,
        drain_s=settings.drain_s,
    )


async def nothing() -> None:
    """For services whose connections need no care."""


def assemble(
    service: Service, before: Callable[[], Awaitable[None]] = nothing, after: Callable[[], Awaitable[None]] = nothing
) -> FastAPI:
    """Routes and life cycle around a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await before()
        await service.start()
        drain_first(service, service.policy.drain_s)
        gc.collect()
        gc.freeze()  # what lives now lives long; the collector need not look at it again
        yield
        await service.stop()
        await after()

    app = FastAPI(title="Trident", version="1", description=DESCRIPTION, lifespan=lifespan)
    app.state.service = service
    recommend = service.recommender.recommend
    parse_body = ParseJson(RecommendRequest, service.policy.body_s)
    app.router.routes[:0] = [
        Route("/recommend", Endpoint("/recommend", parse_query, recommend), methods=["GET"]),
        Route("/v1/recommend", Endpoint("/v1/recommend", parse_body, recommend), methods=["POST"]),
    ]
    add_operations(app, service)
    app.add_exception_handler(HTTPException, plain_error)
    app.add_exception_handler(Exception, unforeseen)
    app.openapi = partial(openapi_of, app)  # type: ignore[method-assign]
    return app


def add_operations(app: FastAPI, service: Service) -> None:
    """The routes for whoever runs it."""

    @app.get("/healthz", tags=["operations"])
    async def healthz() -> AliveResponse:
        """The process is alive."""
        return AliveResponse(status="alive")

    @app.get("/readyz", tags=["operations"], response_model=ReadyResponse, responses=NOT_READY)
    async def readyz() -> JSONResponse:
        """A traffic record is known and every model it serves is ready on one of its servers."""
        found = await service.readiness()
        plan = service.traffic.plan
        releases = sorted(plan.record.carried) if plan else []
        content = {
            "status": "not ready" if found.reasons else "ready",
            "reasons": found.reasons,
            "lacking": found.lacking,
            "releases": releases,
            "traffic": {
                "sequence": plan.record.sequence if plan else None,
                "confirmed_seconds_ago": service.traffic.contact.age(),
            },
        }
        return JSONResponse(content, status_code=503 if found.reasons else 200)

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def exposition() -> Response:
        """Prometheus metrics."""
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def plain_error(request: Request, error: Exception) -> Response:
    """Unknown paths and wrong methods, in the one error shape."""
    assert isinstance(error, HTTPException)
    answer = HttpAnswer(
        error.status_code,
        {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http"),
        "no such path" if error.status_code == 404 else "not possible here",
    )
    return _response(request, answer)


async def unforeseen(request: Request, error: Exception) -> Response:
    """Anything else."""
    return _response(request, answer_of(error))


def _response(request: Request, answer: HttpAnswer) -> Response:
    offered = request.headers.get("x-request-id")
    request_id = inbound.request_id(offered.encode("latin-1") if offered else None)
    return Response(error_body(answer, request_id), answer.status, media_type="application/json")
