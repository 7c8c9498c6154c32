"""`POST /v1/items/availability`: what the shop says of items in real time, for everybody who follows the overlay.

It answers when Redis has the batch, all of it: from then on every server and every orchestrator hears of it.
"""

import asyncio
from typing import Annotated, Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from deploy.triton.backends.overlay import ATTRIBUTES, MOST_PRICE, REGIONS, Changes, OverlayError, Value, write, written
from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from orchestrator.errors import NotStoredError, StageError
from orchestrator.policy import OverlayPolicy
from orchestrator.redis_link import Command, Store
from orchestrator.schemas import Identifier

MOST_CHANGES = 1000
MOST_REGIONS = 250
BODY_BYTES = 1 << 20
log = structlog.get_logger(__name__)
Country = Annotated[str, Field(pattern="^[A-Za-z]{2}$")]


def _optional(schema: dict[str, Any]) -> None:
    """A field that may be left out has no default: leaving it out says nothing."""
    del schema["default"]


class ItemAvailability(BaseModel):
    """What changes of one item. A field that is left out stays as it is."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    item_id: Identifier = Field(description="1 to 256 bytes, printable; it need not be in the catalogue yet")
    in_stock: bool = Field(default=True, json_schema_extra=_optional)
    is_safe: bool = Field(default=True, json_schema_extra=_optional)
    price: float = Field(default=1.0, gt=0, le=MOST_PRICE, allow_inf_nan=False, json_schema_extra=_optional)
    regions: Annotated[list[Country], Field(min_length=1, max_length=MOST_REGIONS)] | None = Field(
        default=None,
        json_schema_extra=_optional,
        description="ISO 3166-1 alpha-2 codes of the only countries it may be shown in; null: everywhere",
    )
    reset: bool = Field(
        default=False, description="forget what was said before; what else is said here is said after that"
    )

    @model_validator(mode="after")
    def _says_something(self) -> "ItemAvailability":
        if not self.reset and not self.model_fields_set & set(ATTRIBUTES):
            raise ValueError(f"must say one of {', '.join(ATTRIBUTES)}, or reset")
        return self

    def said(self, name: str) -> Value | None:
        """The value of an attribute as the overlay holds it."""
        value = getattr(self, name)
        if name == REGIONS:
            return frozenset(map(country_code, value or ()))
        return value if isinstance(value, bool) else float(value)


class AvailabilityRequest(BaseModel):
    """A batch, applied as a whole or not at all."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    items: list[ItemAvailability] = Field(min_length=1, max_length=MOST_CHANGES)

    @model_validator(mode="after")
    def _once_each(self) -> "AvailabilityRequest":
        if len({item.item_id for item in self.items}) < len(self.items):
            raise ValueError("an item_id is given more than once")
        return self


class AvailabilityResponse(BaseModel):
    """The batch is stored."""

    accepted: int = Field(description="items of the batch")
    position: int = Field(description="of the overlay after this batch; servers tell which one they have reached")


class Availability:
    """Writes batches."""

    def __init__(self, store: Store, policy: OverlayPolicy) -> None:
        self._store = store
        self._policy = policy

    async def change(self, request: AvailabilityRequest, request_id: str) -> bytes:
        """The answer's JSON. Raises NotStoredError; whether a batch that was late was stored is not known then."""
        commands = await asyncio.to_thread(commands_of, request)  # milliseconds, of which recommendations have few
        try:
            position = written(await self._store.execute(commands, self._policy.write_s))
        except (StageError, OverlayError) as error:
            log.warning("availability_not_written", request_id=request_id, error=str(error))
            raise NotStoredError from error
        log.info("availability", request_id=request_id, items=len(request.items), position=position)
        return orjson.dumps({"accepted": len(request.items), "position": position})


def commands_of(request: AvailabilityRequest) -> list[Command]:
    """What is sent to Redis."""
    return write(changes_of(request))


def changes_of(request: AvailabilityRequest) -> Changes:
    """The batch as the overlay holds it, by attribute and item key."""
    changes: Changes = {name: {} for name in ATTRIBUTES}
    for item in request.items:
        key = item_key(item.item_id)
        for name, values in changes.items():
            if name in item.model_fields_set:
                values[key] = item.said(name)
            elif item.reset:
                values[key] = None
    return changes
