"""One entry of a stream → rows of the canonical tables; what cannot be read is refused with a reason.

Times are the orchestrator's. An entry whose moment is far from its arrival is refused: one clock that is years ahead
would otherwise move the moment that "now" means for all of training.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_repo.served import EVENTS, FIELD, IMPRESSIONS
from training.adapters.canonical import SCHEMAS, TEXT, TIMESTAMP

AHEAD = timedelta(hours=2)  # a clock that jumped by an hour loses nothing
BEHIND = timedelta(days=90)
INPUTS = "inputs"
TORN, BAD_INPUTS = "torn", "bad_inputs"
SAID = ("os", "language", "time_zone", "referrer", "session_id")  # of a request, where the entry tells
TABLES: dict[str, pa.Schema] = {
    "events": SCHEMAS["events"].append(pa.field("received_at", TIMESTAMP)),
    "impressions": SCHEMAS["impressions"],
    INPUTS: pa.schema({
        "request_id": TEXT, "user_id": TEXT, "timestamp": TIMESTAMP, "release": TEXT, "variant": TEXT, "level": TEXT,
        "latency_ms": pa.float64(), "features": TEXT, "features_from": TEXT, "schema": TEXT, "user": pa.binary(),
        "history": pa.binary(), "context": pa.binary(), "items": pa.list_(TEXT),
        "scores": pa.list_(pa.list_(pa.float32())), "said": pa.map_(TEXT, TEXT),
    }),
}  # fmt: skip
TABLE_OF = {IMPRESSIONS: "impressions", EVENTS: "events"}  # by stream

Row = dict[str, Any]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Score = Annotated[float, Field(allow_inf_nan=False)] | None
Seconds = Annotated[float, Field(ge=0, lt=1e11)]  # since 1970
Name = Annotated[str, Field(min_length=1)]


class RefusedError(ValueError):
    """The entry holds no row; `reason` is one of few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Stamped(BaseModel):
    """The process that wrote an entry, and the entry's running number among those of its stream."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    instance: Name
    seq: Annotated[int, Field(ge=1, lt=2**62)]


class _Entry(_Stamped):
    """What both streams' entries carry."""

    at: Seconds
    user_id: Name
    device: str | None = None
    country: str | None = None
    os: str | None = None
    language: str | None = None
    time_zone: str | None = None
    referrer: str | None = None
    session_id: str | None = None

    @property
    def moment(self) -> datetime:
        """`at` as a moment."""
        return _moment(self.at)

    def said(self) -> dict[str, str | None]:
        """Of the request's own words those that the entry speaks of."""
        return {name: getattr(self, name) for name in SAID if name in self.model_fields_set}


class _Impression(_Entry):
    request_id: Name
    model_version: str
    variant: str
    level: str = "L0"
    latency_ms: float = 0.0
    placement: str | None = None
    features: str | None = None
    features_from: str | None = None
    items: list[tuple[Name, Whole, Score]]
    inputs: Any = None


class _Event(_Entry):
    event_id: Name
    item_id: Name
    event_type: Literal["view", "click", "add_to_cart", "favorite", "purchase"]
    received_at: Seconds | None = None
    request_id: str | None = None
    price: Annotated[float, Field(allow_inf_nan=False)] | None = None
    quantity: Whole | None = None


class _Inputs(BaseModel):
    """The sampled arrays, base64; `schema` is the one they were made by."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    user: str
    history: str
    context: str
    schema_hash: str = Field(alias="schema")
    scores: list[list[float]] | None = None


class Stamp(NamedTuple):
    """Which entry of which process."""

    instance: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """An entry's rows by table, all of one day. `identity`: of an event, by which it is known when it is sent again;
    `flaw`: why an impression's inputs were left out, though it is good.
    """

    stamp: Stamp
    day: date
    rows: Mapping[str, list[Row]]
    identity: str | None = None
    flaw: str | None = None


def parse(stream: str, entry_id: str, fields: Mapping[bytes, bytes] | None) -> Parsed:
    """The entry's rows. Raises RefusedError."""
    raw = (fields or {}).get(FIELD)
    if raw is None:
        raise RefusedError(TORN)
    kind = _Impression if stream == IMPRESSIONS else _Event
    try:
        entry = kind.model_validate_json(raw)
    except ValidationError as error:
        raise RefusedError(_reason(error)) from None
    require_near(entry.moment, arrival(entry_id))
    return _impressions(entry) if isinstance(entry, _Impression) else _event(entry)


def identity(user_id: str, event_id: str) -> str:
    """What makes two events one: clients choose ids, each for its own user."""
    return f"{user_id}\0{event_id}"


def stamp_of(fields: Mapping[bytes, bytes] | None) -> Stamp | None:
    """The stamp of an entry that was refused, where that much of it can be read."""
    with suppress(ValidationError):
        stamped = _Stamped.model_validate_json((fields or {}).get(FIELD, b""))
        return Stamp(stamped.instance, stamped.seq)
    return None


def arrival(entry_id: str) -> datetime:
    """When Redis took the entry in: the first half of its id, unix ms."""
    return _EPOCH + timedelta(milliseconds=int(entry_id.partition("-")[0]))


def require_near(moment: datetime, arrived: datetime) -> None:
    """Raise RefusedError for a moment too far from its arrival."""
    if moment > arrived + AHEAD:
        raise RefusedError("future")
    if moment < arrived - BEHIND:
        raise RefusedError("too_old")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(seconds: float) -> datetime:
    """To the microsecond."""
    return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _reason(error: ValidationError) -> str:
    """`torn`, or the name of the first field that is wrong: there are few, so it may name a counter."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"bad_{first['loc'][0]}" if first["loc"] else TORN


def _impressions(entry: _Impression) -> Parsed:
    shared = {
        "request_id": entry.request_id, "user_id": entry.user_id, "timestamp": entry.moment,
        "release": entry.model_version, "variant": entry.variant, "placement": entry.placement,
        "device": entry.device, "country": entry.country, **entry.said(),
    }  # fmt: skip
    rows: dict[str, list[Row]] = {
        "impressions": [
            {**shared, "item_id": item, "position": rank, "scores": None if score is None else [score]}
            for item, rank, score in entry.items
        ]
    }
    flaw = None
    if entry.inputs is not None:
        try:
            rows[INPUTS] = [_inputs(entry)]
        except (ValidationError, binascii.Error, ValueError):
            flaw = BAD_INPUTS
    return Parsed(stamp=Stamp(entry.instance, entry.seq), day=entry.moment.date(), rows=rows, flaw=flaw)


def _inputs(entry: _Impression) -> Row:
    inputs = _Inputs.model_validate(entry.inputs)
    if inputs.scores is not None and [len(row) for row in inputs.scores] != [3] * len(entry.items):
        raise ValueError("not three scores for each item")
    arrays = {name: b64decode(getattr(inputs, name), validate=True) for name in ("user", "history", "context")}
    words = {"device": entry.device, "country": entry.country, "placement": entry.placement, **entry.said()}
    return {
        "request_id": entry.request_id, "user_id": entry.user_id, "timestamp": entry.moment,
        "release": entry.model_version, "variant": entry.variant, "level": entry.level,
        "latency_ms": entry.latency_ms, "features": entry.features, "features_from": entry.features_from,
        "schema": inputs.schema_hash, **arrays, "items": [item for item, _, _ in entry.items],
        "scores": inputs.scores, "said": list(words.items()),
    }  # fmt: skip


def _event(entry: _Event) -> Parsed:
    row = {
        "user_id": entry.user_id, "item_id": entry.item_id, "event_type": entry.event_type,
        "timestamp": entry.moment, "request_id": entry.request_id, "device": entry.device, "country": entry.country,
        "price": entry.price, "quantity": entry.quantity, "event_id": entry.event_id, **entry.said(),
        "received_at": None if entry.received_at is None else _moment(entry.received_at),
    }  # fmt: skip
    stamp = Stamp(entry.instance, entry.seq)
    return Parsed(
        stamp=stamp, day=entry.moment.date(), rows={"events": [row]}, identity=identity(entry.user_id, entry.event_id)
    )
