"""The application: `create_app` is uvicorn's factory; `assemble` puts routes around a service, fakes included."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from deploy.settings import Settings, load_settings
from orchestrator.docs import openapi_of
from orchestrator.feast_rows import open_feast
from orchestrator.gate import GatePolicy
from orchestrator.keyring import AdminKey
from orchestrator.logs import configure
from orchestrator.operations import add_operations
from orchestrator.policy import LagPolicy, LogPolicy, Policy, Standing
from orchestrator.redis_link import RedisLink
from orchestrator.routes import HotRoutes, as_routes, hot_routes
from orchestrator.service import Service, build
from orchestrator.shutdown import drain_first
from orchestrator.tracing import Tracer
from orchestrator.triton import TritonClient

NO_KEY = AdminKey(None)
GC_EVERY = 20_000  # objects
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
    key = AdminKey(settings.admin_key)
    return assemble(service, before=store.start, after=store.close, key=key, tracer=tracer_of(settings, policy))


def policy_of(settings: Settings) -> Policy:
    """The policy with what the environment may change."""
    deadline_s = settings.deadline_ms / 1000
    gate = GatePolicy(slow_s=SLOW * deadline_s)
    return Policy(
        deadline_s=deadline_s,
        gate=gate,
        lag=LagPolicy(first=Standing(late_s=LATE * deadline_s, patience_s=deadline_s, rounds=3)),
        max_in_flight=settings.max_in_flight,
        log=LogPolicy(inputs=settings.sampled_inputs),
        stale_features_s=3600 * settings.stale_features_hours,
        drain_s=settings.drain_s,
    )


def tracer_of(settings: Settings, policy: Policy) -> Tracer | None:
    """None without a collector; OpenTelemetry is not even imported then."""
    if settings.otlp_endpoint is None:
        return None
    from orchestrator.spans import open_tracer

    return open_tracer(settings.otlp_endpoint, settings.trace_share, policy.trace)


class App(FastAPI):
    """FastAPI, but for its hot routes: they are found before its middlewares, which would take a tenth of a request."""

    hot: HotRoutes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and (endpoint := self.hot.get((scope["method"], scope["path"]))) is not None:
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def nothing() -> None:
    """For services whose connections need no care."""


def assemble(
    service: Service,
    before: Callable[[], Awaitable[None]] = nothing,
    after: Callable[[], Awaitable[None]] = nothing,
    key: AdminKey = NO_KEY,
    tracer: Tracer | None = None,
) -> FastAPI:
    """Routes and life cycle around a service; without a key the admin's endpoints are closed."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await before()
        await service.start()
        drain_first(service, service.policy.drain_s)
        gc.collect()
        gc.freeze()  # what lives now lives long; the collector need not look at it again
        gc.set_threshold(GC_EVERY)  # the default is a collection for every few requests, to find nothing
        yield
        await service.stop()
        await after()
        if tracer is not None:
            await tracer.close()

    app = App(title="Trident", version="1", description=DESCRIPTION, lifespan=lifespan)
    app.state.service = service
    app.hot = hot_routes(service, key, tracer)
    app.router.routes[:0] = as_routes(app.hot)
    add_operations(app, service)
    app.openapi = partial(openapi_of, app)  # type: ignore[method-assign]
    return app
