"""What a request says of itself, and what stands in for what it does not say."""

from datetime import datetime

from feature_repo.context import RequestContext
from feature_repo.schema import SCHEMA
from feature_repo.vectors import cold_user
from orchestrator.ladder import Ask
from orchestrator.schemas import RecommendRequest
from orchestrator.users import Known

CONTEXT_COUNTRY, CONTEXT_LANGUAGE = SCHEMA.offset("context_country"), SCHEMA.offset("context_language")
CONTEXT_DEPTH = SCHEMA.offset("context_session_depth")


def said(request: RecommendRequest, now: datetime) -> RequestContext:
    """What the request says of itself, at `now`."""
    return RequestContext(
        at=now,
        device=request.device,
        system=request.os,
        country=request.country,
        language=request.language,
        time_zone=request.time_zone,
        placement=request.placement,
        referrer=request.referrer,
        session_depth=request.session_depth or 0,
    )


def assume_home(request: RecommendRequest, ask: Ask, known: Known) -> None:
    """Where the request does not say, country and language are the user's own, and the depth what its session did."""
    if request.country is None:
        ask.country = known.country
        ask.context[CONTEXT_COUNTRY] = known.country
    if request.language is None:
        ask.context[CONTEXT_LANGUAGE] = known.language
    if known.depth:
        ask.context[CONTEXT_DEPTH] = known.depth


def session_of(request: RecommendRequest) -> str | None:
    """The session whose events are counted, where the request does not say how many they are."""
    return request.session_id if request.session_depth is None else None


def unread(request: RecommendRequest) -> Known:
    """A user nothing was read of, for when there is nothing to rank with either."""
    return Known(row=cold_user(request.country), origin="cold")
