"""What `/docs` shows of the hot routes. They are plain ASGI, so FastAPI is told of them by typed stand-ins that are
never served; the models are the ones that validate the input."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.availability import AvailabilityRequest, AvailabilityResponse
from orchestrator.event_schemas import EventsRequest, EventsResponse
from orchestrator.explanation import ExplainedResponse
from orchestrator.schemas import ErrorResponse, ReadyResponse, RecommendRequest, RecommendResponse

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "not JSON, not UTF-8, not a query string"},
    408: {"model": ErrorResponse, "description": "the body did not arrive in time"},
    413: {"model": ErrorResponse, "description": "body over 64 KiB or query string over 16 KiB"},
    415: {"model": ErrorResponse, "description": "content type other than application/json"},
    422: {"model": ErrorResponse, "description": "a field is missing, unknown, of a wrong type or out of range"},
    429: {"model": ErrorResponse, "description": "too many requests in flight; see Retry-After"},
    503: {"model": ErrorResponse, "description": "nothing can answer yet; see Retry-After"},
}
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ReadyResponse, "description": "`reasons` says why"}}
KEY_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "the admin key is missing or wrong"},
    403: {"model": ErrorResponse, "description": "no admin key is set, so what needs one is off"},
}
KEY_OPTIONAL: dict[str, Any] = {"security": [{}]}  # added to the scheme that the route's parameter names
QUERY_ERRORS = {status: shape for status, shape in ERRORS.items() if status not in (408, 415)}
EVENT_ERRORS = ERRORS | {
    413: {"model": ErrorResponse, "description": "body over 512 KiB"},
    429: {"model": ErrorResponse, "description": "too many batches at once; see Retry-After"},
    503: {"model": ErrorResponse, "description": "not stored, send the batch again; see Retry-After"},
}
AVAILABILITY = "/v1/items/availability"
AVAILABILITY_ERRORS = {
    **{status: shape for status, shape in ERRORS.items() if status != 429},
    **KEY_ERRORS,
    413: {"model": ErrorResponse, "description": "body over 1 MiB"},
    503: {"model": ErrorResponse, "description": "not stored, send it again; see Retry-After"},
}
documented = APIRouter(tags=["recommendations"])
for_admins = APIRouter(
    tags=["items"], dependencies=[Security(HTTPBearer(description="the admin key, TRIDENT_ADMIN_KEY"))]
)


@documented.get("/recommend", responses=QUERY_ERRORS)
async def recommend(query: Annotated[RecommendRequest, Query()]) -> RecommendResponse:
    """Recommend items to a user; everything but the user is optional."""
    raise NotImplementedError(query)


@documented.post("/v1/recommend", responses=ERRORS | KEY_ERRORS, openapi_extra=KEY_OPTIONAL)
async def recommend_v1(
    body: RecommendRequest,
    key: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))],
    explain: Annotated[bool, Query(description="add why the answer is what it is; needs the admin key")] = False,
) -> ExplainedResponse:
    """The same with a JSON body."""
    raise NotImplementedError(body, key, explain)


@documented.post("/v1/events", status_code=202, responses=EVENT_ERRORS, tags=["events"])
async def events(body: EventsRequest) -> EventsResponse:
    """What users did. It is stored and in effect when this answers; sending an event again changes nothing."""
    raise NotImplementedError(body)


@for_admins.post(AVAILABILITY, responses=AVAILABILITY_ERRORS)
async def availability(body: AvailabilityRequest) -> AvailabilityResponse:
    """Say in real time what is in stock, safe, at what price and where: it holds within a second, until said otherwise.

    What is said stays on top of every later generation of the catalogue, until `reset` takes it back.
    """
    raise NotImplementedError(body)


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: the plain ASGI routes and everything FastAPI serves itself."""
    if app.openapi_schema is None:
        routes = [*documented.routes, *for_admins.routes, *app.routes]
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=routes
        )
    return app.openapi_schema
