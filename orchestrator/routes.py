"""The hot routes: plain ASGI endpoints by method and path, with what they read and what they do."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.api import Endpoint
from orchestrator.availability import BODY_BYTES, AvailabilityRequest
from orchestrator.docs import AVAILABILITY
from orchestrator.event_schemas import EVENTS_BYTES, EventsRequest
from orchestrator.explain import Forked
from orchestrator.keyring import AdminKey
from orchestrator.parse import ParseJson, parse_query
from orchestrator.schemas import RecommendRequest
from orchestrator.service import Service
from orchestrator.tracing import Traced, Tracer

HotRoutes = Mapping[tuple[str, str], ASGIApp]


def hot_routes(service: Service, key: AdminKey, tracer: Tracer | None) -> HotRoutes:
    """Endpoints by method and path; tracing, where it is on, lies around those that recommend."""
    body_s, recommend = service.policy.body_s, service.recommender.recommend
    parse_body = ParseJson(RecommendRequest, body_s)
    parse_admin = ParseJson(RecommendRequest, body_s, key=key)
    parse_events = ParseJson(EventsRequest, body_s, EVENTS_BYTES)
    plain = Endpoint("/v1/recommend", parse_body, recommend)
    explained = Endpoint("/v1/recommend?explain=true", parse_admin, service.explainer.explain)
    parse_changes = ParseJson(AvailabilityRequest, body_s, BODY_BYTES, key)
    return {
        ("GET", "/recommend"): _traced("/recommend", Endpoint("/recommend", parse_query, recommend), tracer),
        ("POST", "/v1/recommend"): _traced("/v1/recommend", Forked(plain, explained), tracer),
        ("POST", "/v1/events"): Endpoint("/v1/events", parse_events, service.events.take, HTTPStatus.ACCEPTED),
        ("POST", AVAILABILITY): Endpoint(AVAILABILITY, parse_changes, service.availability.change),
    }


def as_routes(hot: HotRoutes) -> list[Route]:
    """The same for a router, which answers wrong methods."""
    routes = []
    for (method, path), endpoint in hot.items():
        routes.append(route := Route(path, endpoint, methods=[method]))
        route.methods = {method}  # no HEAD: it would show nobody anything, and count as shown
    return routes


def _traced(path: str, endpoint: ASGIApp, tracer: Tracer | None) -> ASGIApp:
    return endpoint if tracer is None else Traced(endpoint, path, tracer)
