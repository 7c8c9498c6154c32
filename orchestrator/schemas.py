"""What a client sends and gets. Input is validated by these models; output models are documentation only,
because the hot path writes its JSON itself."""

from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from feature_repo.context import LONGEST_SESSION
from feature_repo.schema import DEVICES, PLACEMENTS, REFERRERS, SYSTEMS

MOST_ITEMS = 200
MOST_EXCLUDED = 500
MOST_ID_BYTES = 256
Device = Literal["unknown", "mobile", "desktop", "tablet", "tv"]
System = Literal["unknown", "ios", "android", "windows", "macos", "linux", "other"]
Placement = Literal["unknown", "home", "search", "product", "cart", "email"]
Referrer = Literal["unknown", "direct", "search", "social", "email", "ads", "internal"]
assert Device.__args__ == DEVICES  # type: ignore[attr-defined]
assert System.__args__ == SYSTEMS  # type: ignore[attr-defined]
assert Placement.__args__ == PLACEMENTS  # type: ignore[attr-defined]
assert Referrer.__args__ == REFERRERS  # type: ignore[attr-defined]
LANGUAGE_TAG = "^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}$"
TIME_ZONES = frozenset(available_timezones()) - {"localtime"}  # read once: a request looks no file up


def _printable(value: str) -> str:
    if not value or len(value.encode()) > MOST_ID_BYTES:
        raise ValueError(f"must have 1 to {MOST_ID_BYTES} bytes")
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def _time_zone(value: str) -> str:
    if value not in TIME_ZONES:
        raise ValueError("must be an IANA time zone, like Europe/Berlin")
    return value


def text_form(form: str, longest: int) -> WithJsonSchema:
    """What the document says of a string that a function checks: a format of ours, described where it is used."""
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest, "format": form})


Identifier = Annotated[str, AfterValidator(_printable), text_form("identifier", MOST_ID_BYTES)]
TimeZone = Annotated[str, AfterValidator(_time_zone), text_form("time-zone", max(map(len, TIME_ZONES)))]
SessionId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,64}$")]


class RecommendRequest(BaseModel):
    """Who asks, for how many items, and in which context. Unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    user_id: Identifier = Field(description="1 to 256 bytes, printable")
    num_items: int = Field(default=20, ge=1, le=MOST_ITEMS)
    device: Device | None = None
    os: System | None = None
    country: str | None = Field(
        default=None, pattern="^[A-Za-z]{2}$", description="ISO 3166-1 alpha-2; none: the user's own"
    )
    language: str | None = Field(
        default=None, pattern=LANGUAGE_TAG, description="BCP 47 tag, like pt-BR; none: the user's own"
    )
    time_zone: TimeZone | None = Field(default=None, description="IANA name, like Europe/Berlin; none: UTC")
    placement: Placement | None = None
    referrer: Referrer | None = None
    session_depth: int | None = Field(
        default=None,
        ge=0,
        le=LONGEST_SESSION,
        description="events of the session before this request; none: those that came with its `session_id`",
    )
    session_id: SessionId | None = Field(default=None, description="1 to 64 printable ASCII characters")
    exclude: list[Identifier] = Field(
        default_factory=list, max_length=MOST_EXCLUDED, description="item ids never to return"
    )
    timings: bool = Field(default=False, description="add the time of each stage to the answer")


class Scores(BaseModel):
    """The ranker's three outputs: relevance, P(click | impression), P(purchase | click)."""

    relevance: float
    ctr: float
    cvr: float


class RecommendedItem(BaseModel):
    """One item of the answer, best first."""

    item_id: str
    rank: int = Field(ge=1)
    score: float | None = Field(description="what the order is by; null when it was not finite")
    scores: Scores | None = Field(default=None, description="absent below rung L1")
    metadata: dict[str, object] = Field(description="title, category, price, …; empty when unknown")


class Degraded(BaseModel):
    """Why the answer is less than it could be."""

    level: Literal["L0", "L1", "L2", "L3", "L4"]
    reasons: list[str]
    coverage: float = Field(ge=0, le=1, description="items returned / items asked for")


class RecommendResponse(BaseModel):
    """The answer. `degraded` is null when the full path answered with all the items asked for."""

    request_id: str
    user_id: str
    items: list[RecommendedItem]
    model_version: str = Field(description="the release number")
    variant: str = Field(description="the experiment arm of the user")
    latency_ms: float
    degraded: Degraded | None
    timings: dict[str, float] | None = Field(default=None, description="ms by stage, only when asked for")


class AliveResponse(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class FollowedTraffic(BaseModel):
    """The traffic record that is followed; null without one."""

    sequence: int | None
    confirmed_seconds_ago: float | None = Field(description="since Redis last confirmed it")


class ReadyResponse(BaseModel):
    """Whether recommendations can be made, and what is missing if not."""

    status: Literal["ready", "not ready"]
    reasons: list[str]
    lacking: list[str] = Field(description="servers without a model that another one has")
    releases: list[int]
    traffic: FollowedTraffic


class ErrorField(BaseModel):
    """One field and what is wrong with it."""

    field: str
    problem: str


class ErrorBody(BaseModel):
    """An error; never repeats the input."""

    code: str
    message: str
    request_id: str
    fields: list[ErrorField]


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    error: ErrorBody
