"""The routes for whoever runs it, and the one error shape for whatever no endpoint answers."""

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request

from orchestrator import inbound, metrics
from orchestrator.api import REQUEST_ID_HEADER, answer_of, error_body
from orchestrator.docs import NOT_READY
from orchestrator.errors import HttpAnswer
from orchestrator.parse import header
from orchestrator.schemas import AliveResponse, ReadyResponse
from orchestrator.service import Service


def add_operations(app: FastAPI, service: Service) -> None:
    """Health, readiness, metrics, and answers to what nobody asked for."""
    app.add_exception_handler(HTTPException, plain_error)
    app.add_exception_handler(Exception, unforeseen)

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
    return _response(request, answer, error.headers)


async def unforeseen(request: Request, error: Exception) -> Response:
    """Anything else."""
    return _response(request, answer_of(error))


def _response(request: Request, answer: HttpAnswer, headers: Mapping[str, str] | None = None) -> Response:
    request_id = inbound.request_id(header(request.scope, REQUEST_ID_HEADER))
    told = {**(headers or {}), REQUEST_ID_HEADER.decode(): request_id}  # `Allow` of a 405, for one
    return Response(error_body(answer, request_id), answer.status, told, media_type="application/json")
