"""The log of serving as an orchestrator writes it: entries, and a process that numbers them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from feature_repo.schema import SCHEMA
from feature_repo.served import EVENTS, FIELD, IMPRESSIONS

Entry = dict[str, Any]


@dataclass
class Process:
    """One orchestrator process; `client` is Redis. `numbers`: the last number of each stream."""

    client: Any
    name: str = "a"
    numbers: dict[str, int] = field(default_factory=dict)

    def write(self, stream: str, entry: Entry, at: datetime | None = None, times: int = 1) -> None:
        """Add an entry with the next number; `at` is when Redis takes it in, by default now."""
        self.numbers[stream] = self.numbers.get(stream, 0) + 1
        content = orjson.dumps({**entry, "instance": self.name, "seq": self.numbers[stream]})
        for _ in range(times):
            self.raw(stream, content, at)

    def raw(self, stream: str, content: bytes, at: datetime | None = None, name: bytes = FIELD) -> None:
        """Add whatever bytes."""
        entry_id = "*" if at is None else f"{int(at.timestamp() * 1000)}-*"
        self.client.xadd(stream, {name: content}, id=entry_id)

    def shows(self, request_id: str, user: str, items: Sequence[str], at: datetime, **more: Any) -> None:
        """Log an answer with these items."""
        self.write(IMPRESSIONS, impression(request_id, user, items, at, **more), at)

    def acts(self, event_id: str, user: str, item: str, kind: str, at: datetime, **more: Any) -> None:
        """Log an event."""
        self.write(EVENTS, event(event_id, user, item, kind, at, **more), at)


def impression(request_id: str, user: str, items: Sequence[str], at: datetime, **more: Any) -> Entry:
    """What `orchestrator.recommend` logs of an answer."""
    return {
        "event": "impressions", "at": at.timestamp(), "request_id": request_id, "user_id": user, "model_version": "1",
        "variant": "champion", "level": "L0", "degraded": None, "latency_ms": 3.5, "placement": "home",
        "features": "0" * 16, "features_from": "stored", "features_age_s": 60.0, "device": "mobile", "country": "DE",
        "items": [(item, rank, 1.0 / rank) for rank, item in enumerate(items, 1)], **more,
    }  # fmt: skip


def event(event_id: str, user: str, item: str, kind: str, at: datetime, **more: Any) -> Entry:
    """What `POST /v1/events` logs of an event."""
    return {
        "event_id": event_id, "user_id": user, "item_id": item, "event_type": kind, "at": at.timestamp(),
        "received_at": at.timestamp(), "request_id": None, "price": None, "quantity": None, "model_version": None,
        "variant": None, "device": "mobile", "session_id": None, **more,
    }  # fmt: skip


def inputs(user: Any, history: Any, context: Any, scores: Sequence[Sequence[float]] | None) -> Entry:
    """The raw inputs of a sampled request."""
    arrays = {"user": np.float32(user), "history": np.int64(history), "context": np.float32(context)}
    encoded = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
    return {**encoded, "schema": SCHEMA.hash, "scores": scores}


def moment(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
