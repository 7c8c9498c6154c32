"""What a client says of its users' deeds, `POST /v1/events`. Input is validated by these models."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from feature_repo.served import EVENT_TYPES
from orchestrator.schemas import Device, Identifier, SessionId, text_form

MOST_EVENTS = 500
EVENTS_BYTES = 512 * 1024
MOST_EVENT_ID_BYTES = 64
MOST_PRICE, MOST_QUANTITY = 1e8, 10_000  # as in training
SAFE = r"^[A-Za-z0-9._-]{1,64}$"
EventType = Literal["view", "click", "add_to_cart", "purchase", "favorite"]
assert EventType.__args__ == EVENT_TYPES  # type: ignore[attr-defined]


def _event_id(value: str) -> str:
    if not value or not value.isprintable() or len(value.encode()) > MOST_EVENT_ID_BYTES:
        raise ValueError(f"must have 1 to {MOST_EVENT_ID_BYTES} bytes, printable")
    return value


class Event(BaseModel):
    """One thing a user did. What an answer said (`request_id`, `model_version`, `variant`) may be said again."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    event_id: Annotated[str, AfterValidator(_event_id), text_form("event-id", MOST_EVENT_ID_BYTES)] = Field(
        description="1 to 64 bytes, printable; the same id of the same user within 24 hours is the same event"
    )
    user_id: Identifier
    item_id: Identifier = Field(description="items that the catalogue does not know are accepted")
    event_type: EventType
    at: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="when it happened, unix seconds; none: now. At most 5 minutes ahead and 7 days ago",
    )
    request_id: str | None = Field(default=None, pattern=SAFE, description="of the answer that showed the item")
    price: float | None = Field(
        default=None, ge=0, le=MOST_PRICE, allow_inf_nan=False, description="of one; none: the catalogue's"
    )
    quantity: int | None = Field(default=None, ge=1, le=MOST_QUANTITY, description="none: 1")
    model_version: str | None = Field(default=None, pattern=r"^[0-9]{1,18}$")
    variant: str | None = Field(default=None, pattern=SAFE)
    device: Device | None = None
    session_id: SessionId | None = Field(
        default=None, description="events of the session count as the depth of its next request"
    )


class EventsRequest(BaseModel):
    """A batch of events, of any users, in any order."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    events: list[Event] = Field(min_length=1, max_length=MOST_EVENTS)


class EventsResponse(BaseModel):
    """Everything was stored, now or before."""

    accepted: int
    duplicates: int = Field(description="events that had been accepted already; they changed nothing")
